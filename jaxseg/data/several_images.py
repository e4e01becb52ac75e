"""Files that contain several images: pages of a TIFF, frames of an animation."""

import os
import struct
from pathlib import Path
from typing import IO

from PIL import ImageFile

from jaxseg.errors import InputError

_SUBFILE_TYPE = 254  # a TIFF tag
_PART_OF_A_PAGE = 1 | 4  # its bits that mark a reduced copy and a mask


def images_in(image: ImageFile.ImageFile) -> int:
    """The number of images in a file.

    Reduced copies and masks of a TIFF page do not count, nor does the gain map of a JPEG.

    Args:
      image: a newly opened image.
    """
    if image.format == "TIFF" and image.fp is not None:
        return tiff_pages(image.fp)
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def several_images(path: str | os.PathLike, count: int) -> InputError:
    """The error for a file that contains `count` images."""
    remedy = "Save the right one as a separate file"
    if Path(path).suffix.lower() in (".tif", ".tiff"):
        remedy += (
            ", for example with tiffcp IN.tif,0 OUT.tif; if the pages are the bands of one image, "
            "set config.data.channels to their number"
        )
    return InputError(
        f"{path} contains {count} images (pages or frames), but one is expected.", f"{remedy}."
    )


def tiff_pages(file: IO[bytes]) -> int:
    """The number of full pages of a TIFF, from its chain of directories; at least 1."""
    before = file.tell()
    file.seek(0)
    head = file.read(16)
    order = "<" if head.startswith(b"II") else ">"
    is_big = b"+" in head[2:4]  # BigTIFF, for files of more than 4 GB
    # formats of the number of entries and of an offset; size of an entry, offset of its value
    number, pointer, size, value = ("Q", "Q", 20, 12) if is_big else ("H", "I", 12, 8)

    def take(format: str) -> int:
        found = struct.unpack(order + format, file.read(struct.calcsize(order + format)))
        return int(found[0])

    pages, seen = 0, set[int]()
    try:
        file.seek(8 if is_big else 4)
        at = take(pointer)
        while at and at not in seen:  # a damaged chain may be circular
            seen.add(at)
            file.seek(at)
            entries = file.read(take(number) * size)
            kind = 0
            for start in range(0, len(entries) - size + 1, size):
                if struct.unpack_from(order + "H", entries, start)[0] == _SUBFILE_TYPE:
                    kind = struct.unpack_from(order + "I", entries, start + value)[0]
            pages += not kind & _PART_OF_A_PAGE
            at = take(pointer)
    except (struct.error, OverflowError):  # truncated: the decoder reports it
        pass
    finally:
        file.seek(before)
    return max(pages, 1)
