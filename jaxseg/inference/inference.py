"""The interface of a network with a protocol: images in, labels or probabilities out."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxseg.inference.padding import Size


class Inference(Protocol):
    """A network with a protocol; `variables` are its parameters and statistics.

    It takes an image, uint8 [H, W, 3], and optionally the (height, width) of the result; None: the
    image's own.
    """

    def named(self, name: str) -> "Inference":
        """The same for the image of this name: proposals from a file are its own."""
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
    """An inference that gives the logits, too."""

    def logits(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        """The logits: float32 [height, width, C]."""
        ...
