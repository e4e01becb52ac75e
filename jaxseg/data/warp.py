"""Cuts a window out of a resized, rotated and blurred image, with one interpolation."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from jaxseg.data.blur import REACH, blur
from jaxseg.data.warp_backends import opencv, warp_photo


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
        return warp_photo(pixels, size, ((a, b, c), (d, e, f)), fill)

    def transform(image, fill):
        return image.transform(
            size,
            Image.Transform.AFFINE,
            (a, b, c, d, e, f),
            Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR,
            fillcolor=fill,
        )

    return on_image(pixels, transform, fill)


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
