"""Decodes JPEGs by simplejpeg: the same pixels as Pillow's, in half the time.

simplejpeg refuses every damaged file; Pillow then decides whether it can be read.
"""

import os
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import ImageFile

from jaxseg.data.image_file import MOST_PIXELS, decoding, read_regular

_SUFFIXES = (".jpg", ".jpeg")
_FRAMES = (0xC0, 0xC1, 0xC2)  # markers with the size: baseline, extended, progressive
_SKIPPED = (0xC4, 0xDB, 0xDD, 0xE0, 0xFE)  # tables, JFIF, comments
_SCAN = 0xDA


def read_plain_jpeg(path: str | os.PathLike, data: bytes | None) -> np.ndarray | None:
    """Reads an RGB JPEG without metadata that could rotate it: uint8 [H, W, 3].

    Returns:
      None for any other file, and for a file that cannot be read.
    """
    if data is None:
        if not isinstance(path, str | Path) or Path(path).suffix.lower() not in _SUFFIXES:
            return None
        try:
            data = read_regular(path)
        except (OSError, ValueError):
            return None
    size = _plain_size(data)
    if size is None or size[0] * size[1] > MOST_PIXELS:
        return None
    with decoding(size[1], size[0]):
        return _decoded(data, size)


def decode_jpeg(image: ImageFile.ImageFile) -> np.ndarray | None:
    """The pixels of an RGB JPEG that Pillow has opened but not loaded, uint8 [H, W, 3], as stored.

    Returns:
      None for any other image.
    """
    if image.format != "JPEG" or image.mode != "RGB" or image.fp is None:
        return None
    image.fp.seek(0)
    return _decoded(image.fp.read(), (image.height, image.width))


def _decoded(data: bytes, size: tuple[int, int]) -> np.ndarray | None:
    try:
        pixels = simplejpeg.decode_jpeg(data, strict=True)
    except Exception:  # its errors have no common class
        return None
    return pixels if pixels.shape == (*size, 3) else None


def _plain_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of an 8-bit RGB JPEG whose header has nothing else that matters."""
    if not data.startswith(b"\xff\xd8"):
        return None
    at, size = 2, None
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _SCAN:
            return size
        if marker in _FRAMES:
            if data[at + 4] != 8 or data[at + 9] != 3:
                return None
            size = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
        elif marker not in _SKIPPED:
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
