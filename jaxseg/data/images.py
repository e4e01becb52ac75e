"""Decodes image files to arrays: photographs become RGB, other images keep their channels."""

import io
import os
from pathlib import Path

import numpy as np

from jaxseg.data.bands import Stored, as_kind, is_array, of_image, read_deep
from jaxseg.data.decode import decoded, upright
from jaxseg.data.inside import BandFiles, EmbeddedPhoto, not_one_band
from jaxseg.data.jpeg import read_plain_jpeg
from jaxseg.data.upright import Picture, turned
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import RGB, ImageKind


def read_image(
    path: str | os.PathLike,
    data: bytes | None = None,
    kind: ImageKind = RGB,
    *,
    checked: bool = False,
) -> np.ndarray:
    """Reads the image in `path`, upright: uint8 [H, W, 3], RGB.

    Grey, palette and CMYK images are converted; an alpha channel is dropped.

    Args:
      path: the file, or the files of the bands.
      data: its bytes, if already read; `path` is then used only in messages.
      kind: channels and bits if not 8-bit RGB; the pixels are [H, W, channels] of its dtype, by the
        rules of `jaxseg.data.bands`.
      checked: whether to compare the checksums in the file, as for masks; of 8-bit RGB only.

    Raises:
      InputError: the file cannot be decoded completely, has more than 8 bits per channel, or is not
        of the `kind`.
    """
    return decode_image(path, data, kind, checked=checked).pixels


def decode_image(
    path: str | os.PathLike,
    data: bytes | None = None,
    kind: ImageKind = RGB,
    *,
    checked: bool = False,
) -> Picture:
    """Like `read_image`; also returns the EXIF orientation."""
    if isinstance(path, BandFiles):
        return _decode_bands(path, kind)
    if kind != RGB or is_array(path):
        return _decode_kind(path, data, kind)
    if (plain := read_plain_jpeg(path, data)) is not None:
        return Picture(plain, 1)
    with decoded(path, data, checked=checked, as_pixels=True) as loaded:
        image, orientation, packing, pixels = loaded
        if loaded.is_deep:
            raise InputError(
                f"Image {path} has more than 8 bits per channel ({packing or image.mode}).",
                "Convert it to 8 bits with the range of values that matters to you; or train on 16 "
                "bits: config.data.bits=16, and config.data.channels=1 if it is grey.",
            )
        if pixels is None:
            shown = image.convert("RGBA") if "transparency" in image.info else image
            pixels = np.asarray(shown if shown.mode == "RGB" else shown.convert("RGB"))
        return Picture(upright(pixels, image, orientation), orientation)


def image_bytes(path: Path | EmbeddedPhoto | BandFiles, kind: ImageKind = RGB) -> bytes:
    """The content of an image as a single file; separate bands are combined in a `.npy` file.

    Raises:
      InputError: for bands, as `read_image`.
      OSError: the file cannot be read.
    """
    if not isinstance(path, BandFiles):
        return path.read_bytes()
    file = io.BytesIO()
    np.save(file, read_image(path, kind=kind))
    return file.getvalue()


def _decode_kind(path: str | os.PathLike, data: bytes | None, kind: ImageKind) -> Picture:
    """Decodes an image that is not 8-bit RGB."""
    found = _stored(path, data)
    return Picture(as_kind(found.pixels, found.alpha, kind, path), found.orientation)


def _stored(path: str | os.PathLike, data: bytes | None) -> Stored:
    """The stored pixels of a file, rotated upright."""
    if data is None and isinstance(path, EmbeddedPhoto):
        data = path.read_bytes()
    found = read_deep(path, data)
    if found is not None:
        return found._replace(pixels=turned(found.pixels, found.orientation))
    with decoded(path, data) as (image, orientation, *_):
        pixels, alpha = of_image(image)
        return Stored(upright(pixels, image, orientation), orientation, alpha)


def _decode_bands(image: BandFiles, kind: ImageKind) -> Picture:
    """Decodes an image with separate bands."""
    bands: list[np.ndarray] = []
    for file in image.files:
        found = _stored(file, None)
        channels = found.pixels.shape[2] - found.alpha if found.pixels.ndim == 3 else 1
        if channels != 1:
            raise not_one_band(file, channels)
        band = as_kind(found.pixels, found.alpha, ImageKind(1, kind.bits), file)
        if bands and band.shape != bands[0].shape:
            height, width, _ = band.shape
            raise InputError(
                f"{file} is {width} wide and {height} high, but {image.files[0]}, another band of "
                f"the same image, {bands[0].shape[1]} and {bands[0].shape[0]}.",
                "Resample the bands to one size, such as by gdalwarp -tr.",
            )
        bands.append(band)
    return Picture(as_kind(np.concatenate(bands, axis=2), False, kind, image), found.orientation)
