"""The fully connected CRF of Krähenbühl and Koltun (2011), which sharpens label maps at edges."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.special import softmax

from jaxseg.errors import InputError, nearest
from jaxseg.inference.crf.permutohedral import Lattice

_REACH = 5  # standard deviations at which the position kernel, then below 4e-6, is cut off
_NORMALIZATIONS = ("none", "after", "symmetric")
_Filter = Callable[[np.ndarray], np.ndarray]  # from [N, C] to [N, C]


@dataclasses.dataclass(frozen=True)
class CRF:
    """The parameters of a dense CRF. It assigns a cost to each pair of pixels with different
    labels, which is higher for pixels that are close together, and for those of similar colour.

    The cost is `position_weight * exp(-p² / (2 position_std²)) + bilateral_weight *
    exp(-p² / (2 bilateral_std²) - c² / (2 colour_std²))`, with p the distance of the pixels and c
    that of their colours.

    Attributes:
      position_std: standard deviation of the first term, in pixels.
      position_weight: weight of the first term.
      bilateral_std: standard deviation of the second term's positions, in pixels.
      colour_std: standard deviation of its colours, in levels 0..255.
      bilateral_weight: weight of the second term.
      iterations: number of mean-field updates.
      normalization: the divisor of each of the two sums over all pixels. "none": none, the model as
        written above; "after": at each pixel, the sum for ones (the code of 2011); "symmetric": the
        square roots of that sum at both pixels (the code of 2013, pydensecrf's default). A weight
        therefore has much less effect with the last two.

    Raises:
      InputError: a value is out of its range.
    """

    position_std: float = 3.0
    position_weight: float = 3.0
    bilateral_std: float = 20.0
    colour_std: float = 3.0
    bilateral_weight: float = 5.0
    iterations: int = 10
    normalization: str = "none"

    def __post_init__(self):
        for name in ("position_std", "bilateral_std", "colour_std"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(
                    f"{name} is {getattr(self, name)}.", "Give a standard deviation above 0."
                )
        for name in ("position_weight", "bilateral_weight", "iterations"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}.", "Give 0 or more.")
        if self.normalization not in _NORMALIZATIONS:
            raise InputError(
                f"normalization is {self.normalization!r}.",
                nearest(str(self.normalization), _NORMALIZATIONS),
            )


CRFS = {
    "deconvnet": CRF(),
    "densecrf": CRF(3.0, 3.0, 80.0, 13.0, 10.0, 5, "symmetric"),
}
"""By name: the parameters of DeconvNet's authors (from their code, with the defaults of its
library), and those in the example of the CRF authors' second release."""


def mean_field(
    image: np.ndarray, probabilities: np.ndarray, crf: CRF = CRFS["deconvnet"]
) -> np.ndarray:
    """Mean-field inference of a dense CRF on the CPU; returns the probability of each class.

    Sums over positions are exact to 1e-5; sums over positions and colours use `Lattice`. As in the
    authors' code, and unlike the paper's formulas, a pixel also sends a message to itself. An image
    of 500×375 with 21 classes takes 4 to 10 seconds on one core, and at most about 100 (C + 10)
    bytes per pixel.

    Args:
      image: uint8 [H, W, 3].
      probabilities: floating point [H, W, C] from a network; zeros count as 1e-20.
      crf: the parameters, such as `CRFS["deconvnet"]`.

    Returns:
      float32 [H, W, C], with sum 1 at each pixel.

    Raises:
      InputError: image and probabilities differ in size or have another dtype.

    >>> image = np.zeros([4, 6, 3], np.uint8)
    >>> image[:, 3:] = 200
    >>> unsure = np.full([4, 6, 2], 0.5)
    >>> unsure[0, 0], unsure[0, 5] = (0.9, 0.1), (0.1, 0.9)
    >>> mean_field(image, unsure).argmax(-1)[2].tolist()
    [0, 0, 0, 1, 1, 1]
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"The image is {image.dtype} of shape {image.shape}.",
                         "Give uint8 [H, W, 3].")  # fmt: skip
    size = image.shape[:2]
    if probabilities.ndim != 3 or probabilities.shape[:2] != size:
        raise InputError(
            f"The probabilities have shape {probabilities.shape}, but the image is "
            f"{size[0]}×{size[1]}.",
            "Give [H, W, C] of the image size.",
        )
    y, x = np.mgrid[: size[0], : size[1]]
    features = [np.stack([y, x], -1) / crf.bilateral_std, image / crf.colour_std]
    lattice = Lattice(np.concatenate(features, -1).reshape(-1, 5))
    position = _normalized(_position_filter(size, crf.position_std), size, crf.normalization)
    bilateral = _normalized(lattice, size, crf.normalization)
    weights = np.float32(crf.position_weight), np.float32(crf.bilateral_weight)

    classes = probabilities.shape[2]
    unary = np.log(np.maximum(probabilities, 1e-20)).astype(np.float32).reshape(-1, classes)
    q = softmax(unary, axis=1)
    for _ in range(crf.iterations):
        q = softmax(unary + weights[0] * position(q) + weights[1] * bilateral(q), axis=1)
    return q.reshape(*size, classes)


def _position_filter(size: tuple[int, int], std: float) -> _Filter:
    """Sums over all pixels, weighted by a Gaussian of their distance."""

    def band(count: int) -> sparse.csr_array:
        reach = min(count - 1, math.ceil(_REACH * std))
        distances = np.arange(-reach, reach + 1)
        weights = np.exp(-((distances / std) ** 2) / 2).astype(np.float32)
        return sparse.diags_array(
            weights, offsets=distances, shape=(count, count), dtype=np.float32
        ).tocsr()

    rows, columns = band(size[0]), band(size[1])

    def filtered(values: np.ndarray) -> np.ndarray:
        count, classes = values.shape
        across = rows @ values.reshape(size[0], -1)
        turned = across.reshape(*size, classes).transpose(1, 0, 2).reshape(size[1], -1)
        along = (columns @ turned).reshape(size[1], size[0], classes)
        return along.transpose(1, 0, 2).reshape(count, classes)

    return filtered


def _normalized(sums: _Filter, size: tuple[int, int], normalization: str) -> _Filter:
    """`sums`, normalised by the rule `normalization` of `CRF`."""
    if normalization == "none":
        return sums
    total = sums(np.ones((size[0] * size[1], 1), np.float32))
    if normalization == "after":
        return lambda values: sums(values) / total
    root = np.sqrt(total)
    return lambda values: sums(values / root) / root
