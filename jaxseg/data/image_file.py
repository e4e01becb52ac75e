"""Opens image files from any source, with limits on format and size, and verifies PNGs."""

import io
import os
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image, ImageFile

from jaxseg.data.several_images import images_in, several_images
from jaxseg.errors import InputError
from jaxseg.utils.freed_memory import give_back_freed_memory

# Only raster formats: PIL would pass PostScript to Ghostscript, which executes it.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "TGA")
MOST_PIXELS = 89_478_485  # PIL's own warning limit: small files can hold many equal pixels
_LARGE = 2**24  # pixels above which images are decoded one at a time
_one_large = threading.RLock()
_mine = threading.local()  # `stack`: locks that a thread holds in `large_alone`


def open_image(path: str | os.PathLike, data: bytes | None, checked: bool) -> ImageFile.ImageFile:
    """Opens the image in `path`, without decoding it.

    Args:
      path: the file.
      data: its bytes, if already read.
      checked: whether to verify the checksums of a PNG, which PIL does not do for its pixels.

    Raises:
      InputError: it is not a regular file, or contains several images.
      OSError, ValueError: as PIL; ValueError for a PNG with wrong checksums.
    """
    if data is None:
        check_regular(path)
        if checked:
            with open(path, "rb") as file:
                start = file.read(8)
                if start == _PNG:
                    data = start + file.read()
    if checked and data is not None:
        check_png(data)
    image = Image.open(path if data is None else io.BytesIO(data), formats=FORMATS)
    try:
        if (count := images_in(image)) > 1:
            raise several_images(path, count)
    except BaseException:
        image.close()
        raise
    return image


def check_regular(path: str | os.PathLike) -> None:
    """Raises InputError for a pipe, a socket or a device, because opening one may block forever."""
    if not _may_be_opened(path):
        raise InputError(f"{path} is not a regular file.", "Give a file, or remove it.")


def _may_be_opened(path: str | os.PathLike) -> bool:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # opening the file will report it
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def read_regular(path: str | os.PathLike) -> bytes:
    """Returns the bytes of a regular file.

    Raises:
      OSError: it is a pipe, a socket or a device, or cannot be read.
    """
    if not _may_be_opened(path):
        raise OSError("it is not a regular file")
    with open(path, "rb") as file:
        return file.read()


def check_size(path: str | os.PathLike, width: int, height: int) -> None:
    """Raises InputError for an image with more pixels than the limit."""
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{path} has more than {MOST_PIXELS:,} pixels according to its header: it is "
            f"{width:,} wide and {height:,} high.",
            "Scale it down, or split it into parts.",
        )


@contextmanager
def decoding(width: int, height: int) -> Iterator[None]:
    """A context for decoding an image of that size; large images are decoded one at a time."""
    if width * height <= _LARGE:
        yield
        return
    with ExitStack() as here:
        stack = getattr(_mine, "stack", None) or here
        stack.enter_context(_one_large)
        stack.callback(give_back_freed_memory)
        yield


@contextmanager
def large_alone() -> Iterator[None]:
    """A context in which a thread that decodes a large image keeps others from doing so."""
    if getattr(_mine, "stack", None) is not None:
        yield
        return
    with ExitStack() as stack:
        _mine.stack = stack
        try:
            yield
        finally:
            _mine.stack = None


_PNG = b"\x89PNG\r\n\x1a\n"


def check_png(data: bytes) -> None:
    """Raises ValueError if a CRC of a PNG's pixels or orientation is wrong.

    >>> check_png(b"no PNG")
    """
    if not data.startswith(_PNG):
        return
    at, view = len(_PNG), memoryview(data)
    while at + 12 <= len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        kind, end = bytes(view[at + 4 : at + 8]), at + 8 + length
        if end + 4 > len(data):
            break
        matters = not kind[0] & 32 or kind == b"eXIf"
        if matters and zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError(f"the checksum of its part {ascii(kind)[2:-1]} is wrong")
        if kind == b"IEND":
            return
        at = end + 4
    raise ValueError("it is truncated")
