"""The positions that `warp.window` samples, for sampling on a device."""

import math
from typing import NamedTuple

import numpy as np


class Sampling(NamedTuple):
    """The positions that `window` samples in the picture, for sampling on a device.

    Attributes:
      rows, columns: float64 [2, h], [2, w]: pixel (i, j) of the window is sampled at rows[:, i] +
        columns[:, j], (vertical, horizontal), in pixels of the picture; 0 is the centre of the
        first pixel.
      inside: int32 [4], the part of the window that shows the canvas: first row, last row + 1,
        first column, last column + 1.
    """

    rows: np.ndarray
    columns: np.ndarray
    inside: np.ndarray


def sampling(
    picture: tuple[int, int],
    canvas: tuple[int, int],
    start: tuple[int, int],
    size: tuple[int, int],
    *,
    angle: float = 0.0,
    mirrored: bool = False,
    margin: int = 0,
) -> Sampling:
    """Computes the positions that `window` samples.

    Args:
      picture: (height, width) of the picture.
      canvas, start, size, angle, mirrored: as in `window`.
      margin: additional rows and columns on every side of the window, for a blur; beyond the edge
        of the canvas they repeat its mirror image.

    >>> sampling((4, 6), (4, 6), (1, 2), (2, 3)).columns[1]
    array([2., 3., 4.])
    """
    if mirrored:
        start = start[0], canvas[1] - start[1] - size[1]
    step_y, step_x = picture[0] / canvas[0], picture[1] / canvas[1]
    centre_y, centre_x = canvas[0] / 2, canvas[1] / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    y, x = (
        _mirrored_beyond(np.arange(-margin, length + margin) + first, whole) + 0.5 - whole / 2
        for first, length, whole in zip(start, size, canvas, strict=True)
    )
    x = -x if mirrored else x
    inside = [
        edge
        for first, length, whole in zip(start, size, canvas, strict=True)
        for edge in (max(0, -first), min(length, whole - first))
    ]
    return Sampling(
        np.stack([step_y * (cos * y + centre_y) - 0.5, -step_x * sin * y]),
        np.stack([step_y * sin * x, step_x * (cos * x + centre_x) - 0.5]),
        np.array(inside, np.int32),
    )


def _mirrored_beyond(places: np.ndarray, length: int) -> np.ndarray:
    """Mirrors positions outside an axis of `length` pixels at its end pixels."""
    if length == 1:
        return np.zeros_like(places)
    period = 2 * (length - 1)
    places = np.abs(places) % period
    return np.minimum(places, period - places)
