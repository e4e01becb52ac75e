"""The interface of a network with its protocol: from images to labels or probabilities."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxseg.inference.padding import Size


class Inference(Protocol):
    """A network with its protocol; `variables` are its parameters and statistics.

    The methods take an image, uint8 [H, W, 3], and optionally the (height, width) of the result;
    None: the size of the image.
    """

    def named(self, name: str) -> "Inference":
        """The inference for the image of this name, which may have its own proposals in a file."""
        ...

    def labels(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        """The class of each pixel: uint8 [height, width]."""
        ...

    def probabilities(
        self, variables: Any, image: np.ndarray, size: Size | None = None
    ) -> np.ndarray:
        """The probability of each class at each pixel: float32 [height, width, C]."""
        ...


@runtime_checkable
class InferenceWithLogits(Inference, Protocol):
    """An inference that can also return logits."""

    def logits(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        """The logits: float32 [height, width, C]."""
        ...
