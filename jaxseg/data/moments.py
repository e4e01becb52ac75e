"""Mean and std of each channel over a data set, accumulated image by image."""

from typing import NamedTuple

import numpy as np

_AT_ONCE = 2**18  # pixels per step


class Moments(NamedTuple):
    """The moments of a set of pixels: `of(image)` for one image, `plus` for the union of two sets.

    Attributes:
      pixels: number of pixels.
      mean: mean of each channel, float64 [C].
      squares: sums of the squared distances from `mean`, float64 [C].

    >>> total = Moments.of(np.array([[[1], [3]]])).plus(Moments.of(np.array([[[5], [7]]])))
    >>> total.mean.tolist(), round(float(total.std[0]), 4)
    ([4.0], 2.2361)
    """

    pixels: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> "Moments":
        """The moments of an image [H, W, C], computed some rows at a time."""
        pixels, total = image.reshape(-1, image.shape[-1]), None
        for first in range(0, len(pixels), _AT_ONCE):
            part = pixels[first : first + _AT_ONCE].astype(np.float64)
            found = cls(len(part), part.mean(axis=0), part.var(axis=0) * len(part))
            total = found if total is None else total.plus(found)
        if total is None:
            raise ValueError("The image has no pixels.")
        return total

    def plus(self, other: "Moments") -> "Moments":
        """The moments of both sets (Chan et al. 1979), without the rounding of large sums."""
        pixels, apart = self.pixels + other.pixels, other.mean - self.mean
        squares = self.squares + other.squares + apart**2 * (self.pixels * other.pixels / pixels)
        return Moments(pixels, self.mean + apart * (other.pixels / pixels), squares)

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each channel, float64 [C]."""
        return np.sqrt(self.squares / self.pixels)
