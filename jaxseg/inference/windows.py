"""Positions of PSPNet's sliding windows in a scaled image, and resizes to and from that image."""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxseg.inference.padding import Size


class Sampling(NamedTuple):
    """A resize along one axis: output `i` is the sum of `weights[i]` times the pixels `read[i]`.

    Attributes:
      read: [outputs, K] int64.
      weights: [outputs, K] float64.
    """

    read: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of an image at one scale, cut into overlapping windows.

    Attributes:
      size: pixels of the scaled image.
      window: pixels of a window.
      offset: pixels of padding before the scaled image, if it is smaller than a window.
      starts: first pixel of each window, including padding; the last window is moved back to fit.
      image: the resize to the scaled image.
      result: the resize from the sum of the windows' maps to the result; averages over windows.
    """

    size: int
    window: int
    offset: int
    starts: tuple[int, ...]
    image: Sampling
    result: Sampling

    def touched(self, first: int, last: int) -> range:
        """The windows needed for the results `first` to `last - 1`."""
        low, high = self._read(first, last)
        reading = [i for i, s in enumerate(self.starts) if s <= high and s + self.window > low]
        return range(reading[0], reading[-1] + 1)

    def reach(self, results: int, total: int) -> int:
        """The maximum number of pixels that any `results` adjacent results of `total` read."""
        spans = (self._read(r, min(r + results, total)) for r in range(0, total, results))
        return max(high - low for low, high in spans) + 1

    def part(self, window: int, first: int, last: int, length: int) -> tuple[int, np.ndarray]:
        """The contribution of a window to the results `first` to `last - 1`, as a matrix.

        Returns:
          The first pixel of the window that is read, and [last - first, length] float32.
        """
        low, _ = self._read(first, last)
        begin = min(max(low - self.starts[window], 0), self.window - length)
        column = self.result.read[first:last] - self.starts[window] - begin
        matrix = np.zeros((last - first, length), np.float32)
        row, term = np.nonzero((column >= 0) & (column < length))
        np.add.at(matrix, (row, column[row, term]), self.result.weights[first:last][row, term])
        return begin, matrix

    def results(self, window: int) -> tuple[int, int]:
        """First and last + 1 of the results that read from a window."""
        column = self.result.read - self.starts[window]
        reading = np.flatnonzero(((column >= 0) & (column < self.window)).any(axis=1))
        return (int(reading[0]), int(reading[-1]) + 1) if reading.size else (0, 1)

    def _read(self, first: int, last: int) -> tuple[int, int]:
        index = self.result.read[first:last]
        return int(index.min()), int(index.max())


def scaled_size(size: Size, scale: float, base_size: int | None, caffe: bool) -> Size:
    """(height, width) of an image at a scale: the long side is the scale times `base_size`.

    Caffe's evaluation adds one pixel, which turns 512 into 8 * 64 + 1, a size that fits its
    network.

    >>> (
    ...     scaled_size((300, 400), 0.5, 512, caffe=False),
    ...     scaled_size((300, 400), 0.5, 512, caffe=True),
    ... )
    ((192, 256), (193, 257))
    """
    height, width = size
    base = base_size or max(size)
    long = math.floor(base * scale + 1.5) if caffe else round(base * scale)
    rounded = (lambda v: math.floor(v + 0.5)) if caffe else round
    if height > width:
        return max(1, long), max(1, rounded(long / height * width))
    return max(1, rounded(long / width * height)), max(1, long)


def make_axis(image: int, scaled: int, result: int, window: int, *, caffe: bool) -> Axis:
    """The windows along one axis, with a stride of two thirds of a window (rounded up).

    Args:
      image: pixels of the image.
      scaled: pixels of the scaled image.
      result: pixels of the result.
      window: pixels of a window.
      caffe: whether to pad after the image and antialias resizes, as in Caffe's evaluation;
        otherwise padding is on both sides and resizes are plain bilinear, as in semseg's.
    """
    padded = max(scaled, window)
    offset = 0 if caffe else (padded - scaled) // 2
    stride = math.ceil(window * (2 / 3))
    count = math.ceil((padded - window) / stride) + 1
    starts = tuple(min(i * stride, padded - window) for i in range(count))
    visits = np.zeros(padded)
    for start in starts:
        visits[start : start + window] += 1
    index, weights = bilinear(scaled, result, antialias=caffe)
    index = index + offset
    back = Sampling(index, weights / visits[index])
    return Axis(scaled, window, offset, starts, bilinear(image, scaled, antialias=caffe), back)


def bilinear(n: int, m: int, *, antialias: bool) -> Sampling:
    """The half-pixel bilinear resize of `n` pixels to `m`: OpenCV's, or MATLAB's with antialiasing.

    For downscaling, MATLAB's `imresize` widens the triangle of weights by the factor. Beyond the
    image, both read pixels of the image; MATLAB mirrors it.
    """
    width = max(n / m, 1) if antialias else 1.0
    centre = (np.arange(m) + 0.5) * n / m - 0.5
    first = np.floor(centre - width).astype(np.int64) + 1
    index = first[:, None] + np.arange(math.ceil(2 * width))
    weights = np.maximum(0, 1 - np.abs(index - centre[:, None]) / width)
    weights /= weights.sum(axis=1, keepdims=True)
    index = np.mod(index, 2 * n)
    index = np.where(index < n, index, 2 * n - 1 - index)
    return Sampling(index, weights)


def cut_windows(
    image: np.ndarray, rows: Axis, columns: Axis, window_row: int, fill: np.ndarray, rounded: bool
) -> Iterator[np.ndarray]:
    """The windows of one row of windows, from left to right: each [height, width, C] float32.

    Args:
      image: [H, W, C].
      rows, columns: the axes of the image at one scale.
      window_row: index of the row of windows.
      fill: [C], the colour of the padding.
      rounded: whether to round scaled pixels to integers, as in Caffe.
    """
    start = rows.starts[window_row] - rows.offset
    band = slice(max(start, 0), min(start + rows.window, rows.size))
    scaled = _resized(image, rows.image.read[band], rows.image.weights[band], 0)
    scaled = _resized(scaled, *columns.image, 1)
    if rounded:
        scaled = np.floor(scaled + 0.5 + 1e-6)  # rounds halves up, despite rounding errors
    width = max(columns.size, columns.window)
    block = np.tile(fill.astype(np.float32), (rows.window, width, 1))
    top = band.start - start
    block[top : top + len(scaled), columns.offset : columns.offset + columns.size] = scaled
    for left in columns.starts:
        yield block[:, left : left + columns.window]


def _resized(image: np.ndarray, index: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    shape = (-1, 1, 1) if axis == 0 else (-1, 1)
    terms = (
        np.take(image, index[:, k], axis=axis) * weights[:, k].reshape(shape)
        for k in range(index.shape[1])
    )
    total = next(terms)
    for term in terms:
        total += term
    return total
