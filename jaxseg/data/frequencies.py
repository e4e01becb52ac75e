"""Counts how often each class occurs, and derives class weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxseg.data.counts import value_counts


@dataclass
class Frequencies:
    """Counts over the masks of a data set; `add` adds a mask.

    >>> counts = Frequencies(3)
    >>> counts.add(np.array([[0, 0, 0, 1]], np.uint8))
    >>> counts.add(np.array([[0, 0, 0, 255]], np.uint8))
    >>> counts.pixels, counts.ignored
    (array([6, 1, 0]), 1)
    >>> counts.median_frequency(), counts.enet()
    ((0.646, 2.21, 0.0), (1.59, 6.63, 50.5))
    """

    num_classes: int
    images: int = 0
    ignored: int = 0  # number of pixels without a class
    pixels: np.ndarray = field(init=False)  # int64 [C]: number of pixels of each class
    around: np.ndarray = field(init=False)  # int64 [C]: labelled pixels of images with the class

    def __post_init__(self):
        self.pixels = np.zeros(self.num_classes, np.int64)
        self.around = np.zeros(self.num_classes, np.int64)

    def add(self, label: np.ndarray) -> None:
        """Adds a mask of classes, uint8 [H, W]; other values count as ignored."""
        self.add_counts(value_counts(label))

    def add_counts(self, counts: np.ndarray) -> None:
        """Adds a mask by its histogram `counts`, int [256]."""
        found = counts[: self.num_classes]
        self.images += 1
        self.ignored += int(counts.sum() - found.sum())
        self.pixels += found
        self.around += np.where(found > 0, found.sum(), 0)

    @property
    def shares(self) -> np.ndarray:
        """Share of each class in all labelled pixels, float [C]; 0 if no pixel is labelled."""
        return self.pixels / max(int(self.pixels.sum()), 1)

    def median_frequency(self) -> tuple[float, ...]:
        """Weights median(f) / f, where f is a class's share in the images that contain it.

        From Eigen and Fergus 2015; used by SegNet. A class that never occurs has weight 0.
        """
        present = self.pixels > 0
        if not present.any():
            return (0.0,) * self.num_classes
        frequency = self.pixels / np.maximum(self.around, 1)
        median = np.median(frequency[present])
        return _rounded(np.where(present, median / np.where(present, frequency, 1), 0))

    def enet(self, offset: float = 1.02) -> tuple[float, ...]:
        """Weights 1 / ln(offset + share), between 1.4 and 50.5 (Paszke et al. 2016)."""
        return _rounded(1 / np.log(offset + self.shares))


def _rounded(weights: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """Rounds to three digits; counts are not more exact."""
    return tuple(float(f"{w:.3g}") for w in weights)
