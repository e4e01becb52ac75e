"""Image files to arrays: photos become RGB, masks stay the indices that they store.

Pixels are taken as they are stored: an EXIF orientation turns neither photo nor mask, so the two
stay aligned. A file that cannot be decoded to its last pixel is an error that names it.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from jaxseg.data.source import IGNORE
from jaxseg.errors import InputError

_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # PIL modes of more than 8 bits
_ORIENTATION = 0x0112  # EXIF tag; 5..8 swap height and width
_GREY_STEP = {"L;2": 85, "L;4": 17}  # PIL stretches 2 and 4 bit grey to 0..255
_BROKEN = (  # what PIL raises for files that are no images, or not whole ones
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def read_image(path: str | Path) -> np.ndarray:
    """The photo in `path`: uint8 [H, W, 3], RGB.

    Grey, palette and CMYK photos are converted; an alpha channel is dropped.

    Raises:
      InputError: the file cannot be decoded to its end, or has more than 8 bits a channel.
    """
    with _decoded(path) as image:
        if image.mode in _DEEP:
            raise InputError(
                f"Photo {path} has more than 8 bits a channel (mode {image.mode}).",
                "Convert it to 8 bits: only you know which range of its values matters.",
            )
        if "transparency" in image.info:
            image = image.convert("RGBA")
        return np.array(image.convert("RGB"))


def read_mask(path: str | Path, num_classes: int) -> np.ndarray:
    """The mask in `path`: uint8 [H, W], class indices in 0..num_classes-1 or 255 (ignore).

    A palette image gives its indices, never its colours; a grey image gives its values.

    Raises:
      InputError: the file cannot be decoded to its end, holds colours or more than 8 bits, or a
        value that is no class.
    """
    with _decoded(path, tiles := []) as image:
        if image.mode in _DEEP:
            raise InputError(
                f"Mask {path} has more than 8 bits a pixel (mode {image.mode}).",
                f"Save it as an 8 bit PNG of class indices 0..{num_classes - 1} and {IGNORE}.",
            )
        if image.mode not in ("P", "L", "1"):
            raise InputError(
                f"Mask {path} holds colours (mode {image.mode}), not class indices.",
                "Convert each colour to the index of its class, and save an 8 bit PNG of indices.",
            )
        mask = np.array(image, np.uint8) // _GREY_STEP.get(tiles[0] if tiles else "", 1)
    wrong = (mask >= num_classes) & (mask != IGNORE)
    if wrong.any():
        raise InputError(*_out_of_range(path, mask, np.unique(mask[wrong]), num_classes))
    return mask


def read_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the image in `path`, from its header alone.

    Raises:
      InputError: the header cannot be read.
    """
    with _decoded(path, header_only=True) as image:
        return image.height, image.width


def size_mismatch(
    image_path: Path, image: np.ndarray, mask_path: Path, mask: np.ndarray
) -> InputError:
    """The error for an image and a mask of different sizes; it says so where EXIF explains it."""
    with _decoded(image_path, header_only=True) as file:
        turned = file.getexif().get(_ORIENTATION, 1) >= 5
    problem = (
        f"Image {image_path} is {image.shape[1]} wide and {image.shape[0]} high, but its mask "
        f"{mask_path} is {mask.shape[1]} wide and {mask.shape[0]} high."
    )
    if turned and image.shape[:2] == mask.shape[::-1]:
        return InputError(
            problem[:-1] + ": the image's EXIF orientation turns it when shown, not when read.",
            "Turn the image's pixels as its EXIF says and save it without the EXIF orientation.",
        )
    return InputError(problem, "Make both the same size, or take the id out of the list.")


def _out_of_range(path, mask, values, num_classes: int) -> tuple[str, str]:
    shown = ", ".join(str(v) for v in values[:8]) + (", ..." if len(values) > 8 else "")
    found = f"the value {shown}" if len(values) == 1 else f"the values {shown}"
    legal = f"0..{num_classes - 1} and {IGNORE} (ignore)"
    problem = f"Mask {path} holds {found}; legal are {legal}."
    present = np.unique(mask)
    if len(present) == 2 and present[0] == 0:
        remedy = f"It looks like a binary mask: save its foreground as 1, not {present[1]}."
    elif 0 not in present and values[0] == num_classes and len(values) == 1:
        remedy = "It looks as if the classes were counted from 1: subtract 1 from every class."
    else:
        remedy = "Save class indices, and list every class in classes.txt."
    return problem, remedy


@contextmanager
def _decoded(
    path: str | Path, raw_modes: list[str] | None = None, *, header_only: bool = False
) -> Iterator[Image.Image]:
    """The image in `path`, loaded. `raw_modes` receives how its pixels are packed in the file."""
    try:
        image = Image.open(path)
        try:
            if raw_modes is not None:  # the tiles are gone once loaded
                raw_modes.extend(str(tile[3]) for tile in image.tile)
            if not header_only:
                image.load()
        except BaseException:
            image.close()
            raise
    except _BROKEN as error:
        raise InputError(
            f"{path} cannot be decoded ({str(error).rstrip('.')}).",
            "Replace the file with a whole one, or take its id out of the list.",
        ) from error
    with image:
        yield image
