"""Combines two networks, or a network and the dense CRF, into one inference."""

from typing import Any

import numpy as np
from scipy.special import softmax

from jaxseg.data.augment import resize_image
from jaxseg.data.shown import shown
from jaxseg.errors import InputError, nearest
from jaxseg.inference.crf.dense_crf import CRF, mean_field
from jaxseg.inference.inference import Inference, InferenceWithLogits
from jaxseg.inference.padding import Size
from jaxseg.ops.byte_labels import byte_labels

RULES = ("mean", "product")
_MOST_VALUES = 2**26  # limit for pixels times (classes + 10) of the dense CRF, about 100 bytes each


class Ensemble:
    """Combines two networks, as in DeconvNet's EDeconvNet with an FCN-8s (section 4.4).

    Args:
      first: the network whose `variables` are passed to each call.
      second: the other network.
      variables: parameters and statistics of the second network.
      rule: "mean" of the probabilities, as in the paper; or, as in the authors' code, the softmax
        of the "product" of both networks' logits, with negative logits set to 0. "product" needs
        inferences that return logits: on whole images, or instance-wise.

    Raises:
      InputError: an unknown rule, or a product of inferences without logits.
    """

    def __init__(self, first: Inference, second: Inference, variables: Any, rule: str = "mean"):
        if rule not in RULES:
            raise InputError(f"rule is {rule!r}.", nearest(str(rule), RULES))
        if rule == "product" and not (
            isinstance(first, InferenceWithLogits) and isinstance(second, InferenceWithLogits)
        ):
            raise InputError(
                "The rule 'product' needs logits from both networks, but one gives only "
                "probabilities.",
                "Use 'mean', or evaluate both on whole images or instances.",
            )
        self._first, self._second, self._variables = first, second, variables
        self._rule = rule

    def named(self, name: str) -> "Ensemble":
        """The ensemble for the image of this name."""
        first, second = self._first.named(name), self._second.named(name)
        return Ensemble(first, second, self._variables, self._rule)

    def labels(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        """The class of each pixel: uint8 [height, width]; ties go to the lower class."""
        return byte_labels(self.probabilities(variables, image, size))

    def probabilities(
        self, variables: Any, image: np.ndarray, size: Size | None = None
    ) -> np.ndarray:
        """The probability of each class at each pixel: float32 [height, width, C]."""
        first, second = self._first, self._second
        if (
            self._rule == "product"
            and isinstance(first, InferenceWithLogits)
            and isinstance(second, InferenceWithLogits)
        ):
            logits = np.maximum(first.logits(variables, image, size), 0)
            logits *= np.maximum(second.logits(self._variables, image, size), 0)
            return softmax(logits, axis=-1)
        one = first.probabilities(variables, image, size)
        return (one + second.probabilities(self._variables, image, size)) / 2


class WithCRF:
    """A network followed by a dense CRF, which sharpens its probabilities at image edges.

    Args:
      inference: the network.
      crf: the parameters.
    """

    def __init__(self, inference: Inference, crf: CRF):
        self._inference, self._crf = inference, crf

    def named(self, name: str) -> "WithCRF":
        """The same inference for the image of this name."""
        return WithCRF(self._inference.named(name), self._crf)

    def labels(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        """The class of each pixel: uint8 [height, width]; ties go to the lower class."""
        return byte_labels(self.probabilities(variables, image, size))

    def probabilities(
        self, variables: Any, image: np.ndarray, size: Size | None = None
    ) -> np.ndarray:
        """The result of `mean_field`; for a result of another size, on the resized image.

        Raises:
          InputError: the result is so large that the CRF would need more than about 7 GB.
        """
        height, width = size or image.shape[:2]
        likely = self._inference.probabilities(variables, image, size)
        if height * width * (likely.shape[-1] + 10) > _MOST_VALUES:
            most = _MOST_VALUES // (likely.shape[-1] + 10)
            raise InputError(
                f"The image of {width}×{height} pixels is too large for the dense CRF: with "
                f"{likely.shape[-1]} classes the limit is {most:,} pixels.",
                "Scale the image down, or set config.eval.crf to None.",
            )
        return mean_field(resize_image(shown(image), size), likely, self._crf)
