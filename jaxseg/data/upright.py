"""Which way up pictures are: an EXIF orientation turns photo and mask as viewers show them.

A file with the orientation 1, or none, is upright as it is stored. Where one file of a pair carries
an orientation that turns and the other does not, the sizes may tell how the mask was drawn; where
they do not, `config.data.exif` has to.
"""

import struct
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from jaxseg.errors import InputError

CHOICES = ("error", "each", "both")
_TAG = 0x0112  # EXIF's orientation
# Of each: whether it transposes, then flips the rows, then the columns
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
    """Files that cannot be laid on each other: a matter of the data set, not of one bad file."""


class Picture(NamedTuple):
    """The pixels of a file, upright, and its EXIF orientation, 1..8."""

    pixels: np.ndarray
    orientation: int


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels [H, W, ...] as the EXIF orientation 1..8 shows them.

    >>> turned(np.array([[1, 2, 3]]), 6).tolist()
    [[1], [2], [3]]
    """
    transpose, rows, columns = _TURNS[orientation]
    pixels = pixels.swapaxes(0, 1) if transpose else pixels
    pixels = pixels[::-1] if rows else pixels
    return pixels[:, ::-1] if columns else pixels


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels of which `turned` makes `pixels`."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def orientation_of(image: Image.Image, file: IO[bytes] | None = None) -> int:
    """The EXIF orientation of an open image, 1..8; 1 where it says nothing that can be read.

    Args:
      image: loaded; or with only its header read.
      file: the image's, where only its header is read: of a PNG the whole would be decoded.
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
    """The EXIF data of a PNG, which may stand behind its pixels; nothing is decoded."""
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
    """The (height, width) of an upright picture, and the EXIF orientation of its file, 1..8."""

    size: tuple[int, int]
    orientation: int


def aligned_mask(photo: Frame, mask: Picture, choice: str, photo_file, mask_file) -> np.ndarray:
    """The mask's values as they lie on the upright photo.

    Args:
      photo, mask: as the files are read.
      choice: `config.data.exif`: where one of the two alone carries an orientation that turns and
        the sizes do not tell, "error" raises, "each" turns each as it says itself, and "both" turns
        the mask as the photo.
      photo_file, mask_file: for the message.

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
