"""Cuts a window out of a resized, rotated and blurred image, with one interpolation."""

import functools
import math
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxseg.errors import InputError

BACKENDS = ("kornia", "pillow", "opencv")
REACH = 2  # pixels that the blur reads on each side
_SAME = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # the identity as an affine map
_STRIP = 32  # rows blurred at a time, so that their sums stay in the processor's cache


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
    backend: str = "kornia",
) -> np.ndarray:
    """Resizes, rotates, blurs and crops in this order, then mirrors; computes only visible pixels.

    Colours are interpolated bilinearly; labels are those of the nearest pixel. If the canvas has
    the size of the image and the angle is 0, pixels are copied.

    Args:
      pixels: uint8, uint16 or float32 [H, W, C], or uint8 [H, W] for labels.
      canvas: (height, width) to which the image is resized, without averaging skipped pixels.
      start: (row, column) of the window's start in the canvas; it may be outside.
      size: (height, width) of the window.
      fill: the colour (one number per channel) or the label outside the canvas, and in the corners
        that a rotation uncovers.
      angle: anticlockwise rotation in degrees about the centre of the canvas.
      blurred: whether to blur with the 5×5 binomial kernel, which reads `fill` in those corners and
        mirrored pixels beyond the edge of the canvas.
      mirrored: whether to mirror the window left to right.
      backend: for 8-bit RGB "kornia"; "pillow", which is slower and exact; or "opencv", which is
        faster, rounds positions of colours to 1/32 pixel, and blends half a pixel along the edge of
        a rotated image with `fill`. Pillow interpolates labels and other images for "kornia", too.

    Returns:
      [*size, C] or [*size] of the dtype of `pixels`, contiguous.
    """
    if mirrored:  # mirrors the canvas, and the window with it
        start = start[0], canvas[1] - start[1] - size[1]
    seen = [
        (max(first, 0), min(first + length, whole))
        for first, length, whole in zip(start, size, canvas, strict=True)
    ]
    reach = REACH if blurred else 0
    read = [
        (max(first - reach, 0), min(last + reach, whole))
        for (first, last), whole in zip(seen, canvas, strict=True)
    ]
    part = _warp(pixels, canvas, read, angle, mirrored, fill, backend)
    if blurred:
        shape = part.shape
        part = opencv().GaussianBlur(part, (5, 5), 0) if backend == "opencv" else blur(part)
        part = part.reshape(shape)  # OpenCV drops the axis of a single channel
    rows, columns = (
        slice(first - begun, last - begun)
        for (first, last), (begun, _) in zip(seen, read, strict=True)
    )
    part = part[rows, columns]
    if part.shape[:2] == tuple(size):
        is_new = part.flags.c_contiguous and part.flags.writeable
        return part if is_new and not np.may_share_memory(part, pixels) else part.copy()
    out = np.empty((*size, *pixels.shape[2:]), pixels.dtype)
    out[0] = fill
    out[1:] = out[0]  # whole rows are sixty times as fast as single pixels
    (top, bottom), (left, right) = (
        (first - begin, last - begin) for (first, last), begin in zip(seen, start, strict=True)
    )
    out[top:bottom, left:right] = part
    return out


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


def blur(pixels: np.ndarray) -> np.ndarray:
    """`pixels`, [H, W, C], blurred by (1, 4, 6, 4, 1) / 16 along both axes, in their own dtype.

    The image is mirrored at its edge pixels, and the result is rounded once, half up. This equals
    OpenCV's Gaussian blur of size 5 with its default sigma.

    >>> blur(np.full((3, 1, 3), 7, np.uint8))[:, 0, 0]
    array([7, 7, 7], dtype=uint8)
    """
    margins = [(REACH, REACH), (REACH, REACH), (0, 0)]
    # integers with twice the bits hold sums of weight 256
    wide = {"uint8": np.uint16, "uint16": np.uint32}.get(pixels.dtype.name, np.float32)
    padded, out = np.pad(pixels, margins, "reflect"), np.empty_like(pixels)
    height, width, channels = pixels.shape
    rows_of = padded.reshape(len(padded), -1)  # the next pixel is `channels` values away
    for first in range(0, height, _STRIP):
        rows = slice(first, min(first + _STRIP, height))
        total = rows_of[first : rows.stop + 2 * REACH].astype(wide)
        for _ in range(2 * REACH):  # (1, 1) four times is (1, 4, 6, 4, 1)
            total = total[1:] + total[:-1]
        for _ in range(2 * REACH):
            total = total[:, channels:] + total[:, :-channels]
        total = total.reshape(-1, width, channels)
        out[rows] = total / np.float32(256) if wide is np.float32 else (total + wide(128)) >> 8
    return out


@functools.cache
def kornia():
    """The module kornia_rs.imgproc, with one thread, because the loader has its own.

    Raises:
      InputError: kornia-rs is not installed.
    """
    threads = os.environ.get("RAYON_NUM_THREADS")
    os.environ["RAYON_NUM_THREADS"] = threads or "1"
    try:
        from kornia_rs import imgproc

        # threads start, and RAYON_NUM_THREADS is read, at the first use
        imgproc.warp_affine(np.zeros((256, 256, 3), np.uint8), _SAME, (256, 256), "bilinear")
    except ImportError as error:
        raise InputError(
            f"augment.backend is 'kornia', but kornia-rs is not installed ({error}).",
            "Run pip install kornia-rs, or set it to 'pillow'.",
        ) from error
    finally:
        if threads is None:
            del os.environ["RAYON_NUM_THREADS"]
    return imgproc


@functools.cache
def opencv():
    """The module cv2, with its threads disabled: the loader has its own.

    Raises:
      InputError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"augment.backend is 'opencv', which is not installed ({error}).",
            "Run pip install 'jaxseg[opencv]', or set it to 'kornia'.",
        ) from error
    cv2.setNumThreads(0)
    return cv2


def _warp(pixels, canvas, part, angle: float, mirrored: bool, fill, backend: str) -> np.ndarray:
    """The rows and columns `part` of the resized, rotated and mirrored image."""
    (top, bottom), (left, right) = part
    height, width = pixels.shape[:2]
    if canvas == (height, width) and angle == 0:
        if mirrored:
            return pixels[top:bottom, width - right : width - left][:, ::-1]
        return pixels[top:bottom, left:right]
    # The pixel centre (x, y) of the result reads the source at (a x + b y + c, d x + e y + f), all
    # measured from the upper left corner.
    step_y, step_x = height / canvas[0], width / canvas[1]
    centre_y, centre_x = canvas[0] / 2, canvas[1] / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    side = -1 if mirrored else 1
    y, x = top - centre_y, side * (left - centre_x)
    a, b, c = step_x * cos * side, -step_x * sin, step_x * (x * cos - y * sin + centre_x)
    d, e, f = step_y * sin * side, step_y * cos, step_y * (x * sin + y * cos + centre_y)
    labels, size = pixels.ndim == 2, (right - left, bottom - top)
    if backend == "opencv":
        cv2 = opencv()
        # OpenCV measures from the centre of the first pixel
        matrix = np.array([[a, b, c + (a + b - 1) / 2], [d, e, f + (d + e - 1) / 2]])

        def warp(pixels, fill):
            return cv2.warpAffine(
                pixels,
                matrix,
                size,
                flags=cv2.WARP_INVERSE_MAP | (cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR),
                borderMode=cv2.BORDER_CONSTANT if angle else cv2.BORDER_REPLICATE,
                borderValue=fill,
            )

        if labels or pixels.shape[2] == 3:
            return warp(pixels, fill)
        return _by_channel(pixels, warp, fill)

    if (
        backend == "kornia"
        and pixels.dtype == np.uint8
        and pixels.ndim == 3
        and pixels.shape[2] == 3
    ):
        return _warp_photo(pixels, size, ((a, b, c), (d, e, f)), fill)

    def transform(image, fill):
        return image.transform(
            size,
            Image.Transform.AFFINE,
            (a, b, c, d, e, f),
            Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR,
            fillcolor=fill,
        )

    return on_image(pixels, transform, fill)


def _warp_photo(pixels, size: tuple[int, int], affine, fill) -> np.ndarray:
    """`Image.transform` of an 8-bit RGB image by kornia-rs, to three levels.

    Args:
      pixels: uint8 [H, W, 3].
      size: (width, height) of the result.
      affine: ((a, b, c), (d, e, f)), as in `_warp`.
      fill: the colour of pixels whose centre is outside the image.
    """
    steps, corner = np.array(affine)[:, :2], np.array(affine)[:, 2]
    # positions of the four corner pixels of the result, from the corner of the image
    ends = np.array([[x, y] for x in (0.5, size[0] - 0.5) for y in (0.5, size[1] - 0.5)])
    places = ends @ steps.T + corner
    sides = np.array([pixels.shape[1], pixels.shape[0]])
    first = np.clip(np.floor(places.min(0)).astype(int) - 1, 0, sides)
    last = np.clip(np.ceil(places.max(0)).astype(int) + 1, 0, sides)
    if (first >= last).any():
        return np.full((size[1], size[0], 3), fill, np.uint8)
    seen = pixels[first[1] : last[1], first[0] : last[0]]
    # half a pixel along the edges repeats the colour of the edge
    part = np.empty((seen.shape[0] + 2, seen.shape[1] + 2, 3), np.uint8)
    part[1:-1, 1:-1] = seen
    part[0, 1:-1], part[-1, 1:-1] = seen[0], seen[-1]
    part[:, 0], part[:, -1] = part[:, 1], part[:, -2]
    # kornia-rs counts from the centre of the first pixel, and takes the map from source to result
    back = np.linalg.inv(steps)
    shift = corner - first + 0.5 + steps.sum(1) / 2
    forth = np.column_stack([back, -back @ shift]).ravel().tolist()
    out = kornia().warp_affine(part, forth, size[::-1], "bilinear")
    if (places < 0).any() or (places >= sides).any():
        # half the time of a mask as index
        out.reshape(-1, 3)[np.flatnonzero(_outside(size, steps, corner, sides))] = fill
    return out


def _outside(size: tuple[int, int], steps, corner, sides) -> np.ndarray:
    """Which pixels of the result, bool [height, width], have their centre outside the image."""
    width, height = size
    rows = np.arange(height) + 0.5
    first, last = np.zeros(height), np.full(height, float(width))  # columns inside, by row
    for (along, down), begin, side in zip(steps, corner, sides, strict=True):
        at = begin + down * rows  # position of the start of each row; a column is `along` further
        if along == 0:
            last[(at < 0) | (at >= side)] = 0
            continue
        enters, leaves = -at / along, (side - at) / along
        np.maximum(first, np.ceil(np.minimum(enters, leaves) - 0.5), out=first)
        np.minimum(last, np.ceil(np.maximum(enters, leaves) - 0.5), out=last)
    columns = np.arange(width, dtype=np.int32)
    first, last = (np.clip(n, 0, width).astype(np.int32)[:, None] for n in (first, last))
    return (columns < first) | (columns >= last)


def on_image(pixels: np.ndarray, change: Callable, fill=None) -> np.ndarray:
    """Applies `change(image, fill)` on Pillow images: to labels and 8-bit RGB as a whole, to others
    by channel; values with more than 8 bits are converted to floats, and rounded afterwards.

    Args:
      pixels: uint8, uint16 or float32 [H, W, C], or uint8 [H, W].
      change: maps an image to an image.
      fill: one number per channel, or a single one for labels; None: not used by `change`.
    """
    if pixels.ndim == 2 or (pixels.dtype == np.uint8 and pixels.shape[2] == 3):
        return np.asarray(change(Image.fromarray(pixels), fill))
    if pixels.dtype == np.uint8:
        return _by_channel(
            pixels, lambda c, fill: np.asarray(change(Image.fromarray(c), fill)), fill
        )

    def changed(channel, fill):
        result = np.asarray(change(Image.fromarray(channel.astype(np.float32)), fill))
        return result if pixels.dtype == np.float32 else np.rint(result).astype(pixels.dtype)

    return _by_channel(pixels, changed, fill)


def _by_channel(pixels: np.ndarray, change: Callable, fill) -> np.ndarray:
    """Applies `change(channel, fill)` to each channel, [H, W], and stacks the results."""
    channels = [np.ascontiguousarray(pixels[..., i]) for i in range(pixels.shape[2])]
    fills = [None] * len(channels) if fill is None else fill
    changed = [change(channel, f) for channel, f in zip(channels, fills, strict=True)]
    return np.stack(changed, axis=2)
