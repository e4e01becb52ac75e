"""Decodes image files completely with Pillow, and reads their headers.

Results are upright, rotated by their EXIF orientation (`jaxseg.data.upright`). A file that cannot
be decoded is an error that names it.
"""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxseg.data.bands import is_array, read_deep_frame
from jaxseg.data.image_file import MOST_PIXELS, check_size, decoding, open_image
from jaxseg.data.inside import BandFiles, EmbeddedPhoto
from jaxseg.data.jpeg import decode_jpeg
from jaxseg.data.not_images import what_it_is
from jaxseg.data.tiff_checksums import check_tiff
from jaxseg.data.upright import Frame, orientation_of, turned
from jaxseg.errors import InputError
from jaxseg.utils.lazy import lazy_names

_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # PIL modes with more than 8 bits


class Loaded(NamedTuple):
    """An image opened by Pillow."""

    image: Image.Image
    orientation: int  # EXIF orientation
    packing: str  # storage format of its pixels, such as "RGB" or "L;4"
    pixels: np.ndarray | None = None  # uint8 [H, W, 3] as stored; the image is then not loaded

    @property
    def is_deep(self) -> bool:
        """Whether it has more than 8 bits per channel; for colours, Pillow keeps the upper 8."""
        return self.image.mode in _DEEP or ";16" in self.packing


@contextmanager
def decoded(
    path: str | os.PathLike,
    data: bytes | None = None,
    *,
    checked: bool = False,
    header_only: bool = False,
    as_pixels: bool = False,
) -> Iterator[Loaded]:
    """Opens the image in `path`, loaded unless `header_only`; `checked` as in `open_image`.

    With `as_pixels`, an RGB JPEG is decoded faster, to `Loaded.pixels`.
    """
    pixels = None
    if data is None and isinstance(path, EmbeddedPhoto):
        data = path.read_bytes()
    try:
        image = open_image(path, data, checked)
        # for a TIFF before loading: PIL rotates it then, and forgets the orientation
        early = header_only or image.format == "TIFF"
        try:
            packing = str(image.tile[0][3]) if image.tile else ""  # lost by loading
            orientation = orientation_of(image, image.fp) if early else 1
            if image.format == "TIFF":
                image.filename = ""  # otherwise PIL memory-maps it, without the rotation
            if not header_only:
                check_size(path, image.width, image.height)
                if checked and image.format == "TIFF":
                    check_tiff(image)
                with decoding(image.width, image.height):
                    pixels = decode_jpeg(image) if as_pixels else None
                    if pixels is None:
                        image.load()
            if not early:
                orientation = orientation_of(image)
        except BaseException:
            image.close()
            raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{path} has more than {MOST_PIXELS:,} pixels according to its header.",
            "Scale it down, or split it into parts.",
        ) from error
    except InputError:
        raise
    except Exception as error:  # PIL raises whatever a damaged file makes of its code
        reason, remedy = what_it_is(path, data, error)
        raise InputError(f"{path} cannot be decoded ({reason}).", remedy) from error
    with image:
        yield Loaded(image, orientation, packing, pixels)


def upright(pixels: np.ndarray, image: Image.Image, orientation: int) -> np.ndarray:
    if orientation == 1 or image.format == "TIFF":
        return pixels
    return np.ascontiguousarray(turned(pixels, orientation))


def read_size(path: str | os.PathLike, data: bytes | None = None) -> tuple[int, int]:
    """(height, width) of the upright image in `path`, from its header; otherwise as `read_image`.

    Raises:
      InputError: the header cannot be read.
    """
    return read_frame(path, data).size


def read_frame(path: str | os.PathLike, data: bytes | None = None) -> Frame:
    """The size as in `read_size`, and the orientation."""
    if isinstance(path, BandFiles):
        return read_frame(path.files[0])
    found = None
    if is_array(path):
        found = read_deep_frame(path, data)
    else:
        try:
            return _pillow_frame(path, data)
        except InputError:
            with contextlib.suppress(InputError):
                found = read_deep_frame(path, data)  # a TIFF with several bands
            if found is None:
                raise
    assert found is not None
    height, width, orientation = found
    return Frame((width, height) if orientation >= 5 else (height, width), orientation)


def _pillow_frame(path: str | os.PathLike, data: bytes | None) -> Frame:
    with decoded(path, data, header_only=True) as (image, orientation, *_):
        turns = orientation >= 5 and image.format != "TIFF"  # PIL rotates a TIFF itself
        size = (image.width, image.height) if turns else (image.height, image.width)
        return Frame(size, orientation)


__getattr__ = lazy_names("jaxseg.data", {"read_image": "images"})  # where it used to be
