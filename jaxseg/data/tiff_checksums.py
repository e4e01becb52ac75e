"""Verifies the checksum of each zlib-compressed strip of a TIFF, which libtiff does not."""

import zlib

from PIL import Image

from jaxseg.data.image_file import MOST_PIXELS

_COMPRESSION, _DEFLATE = 259, (8, 32946)
_PLACES = ((273, 279), (324, 325))  # tags of the offsets and sizes of strips, or of tiles
_AT_ONCE = 2**20
_MOST_BYTES = 8 * MOST_PIXELS  # limit for all strips together


def check_tiff(image: Image.Image) -> None:
    """Raises ValueError if a strip of an open TIFF does not match its checksum."""
    tags, file, left = image.tag_v2, image.fp, _MOST_BYTES  # type: ignore[attr-defined]
    if tags.get(_COMPRESSION) not in _DEFLATE:
        return
    before = file.tell()
    try:
        for begins, sizes in _PLACES:
            for begin, size in zip(tags.get(begins, ()), tags.get(sizes, ()), strict=True):
                file.seek(begin)
                strip, packed = zlib.decompressobj(), file.read(size)
                while packed and not strip.eof:
                    left -= len(strip.decompress(packed, _AT_ONCE))
                    packed = strip.unconsumed_tail
                    if left < 0:
                        raise ValueError("its strips are larger than the image")
                if not strip.eof:
                    raise ValueError("a strip is truncated")
    finally:
        file.seek(before)
