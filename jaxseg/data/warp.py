"""A window of a resized, rotated and blurred picture, cut out of it in one interpolation."""

import math

import numpy as np
from PIL import Image

_REACH = 2  # pixels that the blur looks at on either side


def window(
    pixels: np.ndarray,
    canvas: tuple[int, int],
    start: tuple[int, int],
    size: tuple[int, int],
    *,
    fill,
    angle: float = 0.0,
    blurred: bool = False,
    mirrored: bool = False,
) -> np.ndarray:
    """Resizes, rotates, blurs and cuts, in this order, then mirrors; only what is seen is made.

    Colours are interpolated bilinearly, labels taken from the nearest pixel. Where the canvas has
    the size of the picture and no angle, nothing is interpolated: pixels are copied.

    Args:
      pixels: uint8 [H, W, 3], or [H, W] for labels.
      canvas: (height, width) that the picture is resized to; it does not average over the pixels
        that it skips.
      start: (row, column) of the canvas where the window begins; it may lie outside.
      size: (height, width) of the window.
      fill: the colour (r, g, b) or the label outside the canvas, and in the corners of it that a
        rotation uncovers.
      angle: degrees by which the picture turns anticlockwise about the centre of the canvas.
      blurred: whether to blur by the 5×5 binomial kernel, which sees `fill` in those corners and
        the mirror image beyond the edge of the canvas.
      mirrored: whether left and right of the window change places.

    Returns:
      uint8 [*size, 3] or [*size].
    """
    out = np.empty((*size, *pixels.shape[2:]), np.uint8)
    out[...] = fill
    seen = [
        (max(first, 0), min(first + length, whole))
        for first, length, whole in zip(start, size, canvas, strict=True)
    ]
    reach = _REACH if blurred else 0
    read = [
        (max(first - reach, 0), min(last + reach, whole))
        for (first, last), whole in zip(seen, canvas, strict=True)
    ]
    part = _warp(pixels, canvas, read, angle, fill)
    if blurred:
        part = blur(part)
    rows, columns = (
        slice(first - begun, last - begun)
        for (first, last), (begun, _) in zip(seen, read, strict=True)
    )
    target = out[:, ::-1] if mirrored else out
    (top, bottom), (left, right) = (
        (first - begin, last - begin) for (first, last), begin in zip(seen, start, strict=True)
    )
    target[top:bottom, left:right] = part[rows, columns]
    return out


def blur(pixels: np.ndarray) -> np.ndarray:
    """`pixels`, uint8 [H, W, 3], blurred by (1, 4, 6, 4, 1) / 16 along both axes: uint8 [H, W, 3].

    The picture is mirrored at its edge pixels, and the result rounded once, half up. It is what
    OpenCV's Gaussian blur of size 5 with a sigma of its own choice computes.

    >>> blur(np.full((3, 1, 3), 7, np.uint8))[:, 0, 0]
    array([7, 7, 7], dtype=uint8)
    """
    total = pixels.astype(np.uint16)  # the sum of 256 bytes fits
    for axis in (0, 1):
        margins = [(_REACH, _REACH) if a == axis else (0, 0) for a in range(3)]
        wide, length = np.pad(total, margins, "reflect"), total.shape[axis]
        a, b, c, d, e = (
            wide[i : i + length] if axis == 0 else wide[:, i : i + length] for i in range(5)
        )
        total = b + d
        total += c
        total *= 4
        total += c
        total += c
        total += a
        total += e
    return ((total + 128) >> 8).astype(np.uint8)


def _warp(pixels, canvas, part, angle: float, fill) -> np.ndarray:
    """The rows and columns `part` of the resized and rotated picture."""
    (top, bottom), (left, right) = part
    height, width = pixels.shape[:2]
    if canvas == (height, width) and angle == 0:
        return pixels[top:bottom, left:right]
    # PIL reads the source at (a x + b y + c, d x + e y + f) for a pixel centre (x, y) of the
    # result, all counted from the upper left corner.
    step_y, step_x = height / canvas[0], width / canvas[1]
    centre_y, centre_x = canvas[0] / 2, canvas[1] / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    y, x = top - centre_y, left - centre_x
    matrix = (
        step_x * cos,
        -step_x * sin,
        step_x * (x * cos - y * sin + centre_x),
        step_y * sin,
        step_y * cos,
        step_y * (x * sin + y * cos + centre_y),
    )
    return np.asarray(
        Image.fromarray(pixels).transform(
            (right - left, bottom - top),
            Image.Transform.AFFINE,
            matrix,
            Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling.BILINEAR,
            fillcolor=fill,
        )
    )
