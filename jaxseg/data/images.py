"""Image files to arrays of pixels: photographs become RGB, other images keep their channels."""

import os

import numpy as np

from jaxseg.data.bands import as_kind, is_array, of_image, read_deep
from jaxseg.data.decode import decoded, upright
from jaxseg.data.inside import EmbeddedPhoto
from jaxseg.data.upright import Picture, turned
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import RGB, ImageKind


def read_image(
    path: str | os.PathLike, data: bytes | None = None, kind: ImageKind = RGB
) -> np.ndarray:
    """Reads the image in `path`, upright: uint8 [H, W, 3], RGB.

    Grey, palette and CMYK images are converted; an alpha channel is dropped.

    Args:
      path: the file.
      data: its bytes, if already read; `path` is then used only in messages.
      kind: channels and bits if not 8-bit RGB; the pixels are [H, W, channels] of its dtype, by the
        rules of `jaxseg.data.bands`.

    Raises:
      InputError: the file cannot be decoded to its end, or has more than 8 bits a channel, or is
        not of the `kind`.
    """
    return decode_image(path, data, kind).pixels


def decode_image(
    path: str | os.PathLike, data: bytes | None = None, kind: ImageKind = RGB
) -> Picture:
    """`read_image`, and the orientation that it was turned by."""
    if kind != RGB or is_array(path):
        return _decode_kind(path, data, kind)
    with decoded(path, data) as loaded:
        image, orientation, packing = loaded
        if loaded.is_deep:
            raise InputError(
                f"Image {path} has more than 8 bits per channel ({packing or image.mode}).",
                "Set config.data.bits=16, and config.data.channels=1 if it is grey; or convert "
                "it to 8 bits with the range of values that matters to you.",
            )
        shown = image.convert("RGBA") if "transparency" in image.info else image
        pixels = np.asarray(shown if shown.mode == "RGB" else shown.convert("RGB"))
        return Picture(upright(pixels, image, orientation), orientation)


def _decode_kind(path: str | os.PathLike, data: bytes | None, kind: ImageKind) -> Picture:
    """An image that is no photograph."""
    if data is None and isinstance(path, EmbeddedPhoto):
        data = path.read_bytes()
    found = read_deep(path, data)
    if found is not None:
        pixels = as_kind(found.pixels, found.alpha, kind, path)
        return Picture(np.ascontiguousarray(turned(pixels, found.orientation)), found.orientation)
    with decoded(path, data) as (image, orientation, _):
        pixels = as_kind(*of_image(image), kind, path)
        return Picture(upright(pixels, image, orientation), orientation)
