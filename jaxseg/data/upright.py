"""Rotates photos and masks by their EXIF orientation, as viewers do.

A file with orientation 1, or none, is upright as stored. If only one file of a pair has an
orientation that rotates it, the sizes may show how the mask was drawn; otherwise
`config.data.exif` must define it.
"""

import struct
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from jaxseg.errors import InputError

CHOICES = ("error", "each", "both")
_TAG = 0x0112  # EXIF's orientation
# for each orientation: whether it transposes, then flips the rows, then the columns
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


class Disagreement(InputError):
    """Files whose orientations disagree: a problem of the data set, not of one bad file."""


class Picture(NamedTuple):
    """The upright pixels of a file, and its EXIF orientation, 1..8."""

    pixels: np.ndarray
    orientation: int


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels [H, W, ...] rotated upright by the EXIF orientation 1..8.

    >>> turned(np.array([[1, 2, 3]]), 6).tolist()
    [[1], [2], [3]]
    """
    transpose, rows, columns = _TURNS[orientation]
    pixels = pixels.swapaxes(0, 1) if transpose else pixels
    pixels = pixels[::-1] if rows else pixels
    return pixels[:, ::-1] if columns else pixels


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `turned`."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def orientation_of(image: Image.Image, file: IO[bytes] | None = None) -> int:
    """The EXIF orientation of an open image, 1..8; 1 if it has none that can be read.

    Args:
      image: a loaded image, or one with only its header read.
      file: the image's file, if only its header was read: a PNG would be decoded completely.
    """
    try:
        if file is not None and image.format == "PNG":
            exif = Image.Exif()
            exif.load(_png_exif(file))
        else:
            exif = image.getexif()
        orientation = exif.get(_TAG, 1)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, MemoryError):
        return 1
    return orientation if orientation in _TURNS else 1


def _png_exif(file: IO[bytes]) -> bytes:
    """The EXIF data of a PNG, which may follow its pixels, without decoding them."""
    before = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return b"Exif\0\0" + file.read(length)
            file.seek(length + 4, 1)
        return b""
    finally:
        file.seek(before)


class Frame(NamedTuple):
    """The (height, width) of an upright image, and the EXIF orientation of its file, 1..8."""

    size: tuple[int, int]
    orientation: int


def aligned_mask(photo: Frame, mask: Picture, choice: str, photo_file, mask_file) -> np.ndarray:
    """The mask's values, aligned with the upright photo.

    Args:
      photo, mask: as read from the files.
      choice: `config.data.exif`, for a pair in which only one file has an orientation that rotates
        it, and the sizes do not show how the mask was drawn. "error" raises; "each" rotates each
        file by its own orientation; "both" rotates the mask like the photo.
      photo_file, mask_file: names for the message.

    Raises:
      Disagreement: as above.
    """
    both = turned(stored(mask.pixels, mask.orientation), photo.orientation)
    if (photo.orientation == 1) == (mask.orientation == 1):
        return mask.pixels
    fits, fits_both = (m.shape == photo.size for m in (mask.pixels, both))
    if fits and fits_both and choice == "error":
        first, other, tag = (
            (photo_file, mask_file, photo.orientation)
            if mask.orientation == 1
            else (mask_file, photo_file, mask.orientation)
        )
        raise Disagreement(
            f"{first} has the EXIF orientation {tag}, which rotates it, but {other} has none, so "
            "their alignment is ambiguous.",
            "Set config.data.exif='each' if the mask was drawn on the image as viewers show it, "
            "or 'both' if it was drawn on the stored pixels. Or save both files upright, without "
            "EXIF.",
        )
    return both if fits_both and (choice == "both" or not fits) else mask.pixels
