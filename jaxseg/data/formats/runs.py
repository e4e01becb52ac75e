"""Run lengths of COCO (compressed or not), CVAT and Label Studio, converted to pixels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxseg.data.formats.shapes import laid_at
from jaxseg.errors import InputError

_REMEDY = "Export the annotations again, or remove the shape."


class Runs(NamedTuple):
    """Lengths of runs, alternately outside and inside, over a window of the image."""

    counts: np.ndarray  # int64 [N]
    height: int  # height and width of the window
    width: int
    by_columns: bool = True  # the order of COCO; otherwise by rows
    left: int = 0
    top: int = 0

    def mask(self, height: int, width: int) -> np.ndarray:
        if (height, width) == (self.height, self.width) and not (self.left or self.top):
            return self._window()
        return laid_at(self._window(), self.left, self.top, height, width)

    def _window(self) -> np.ndarray:
        inside = np.arange(len(self.counts)) % 2 == 1
        pixels = np.repeat(inside, self.counts)
        if self.by_columns:
            return pixels.reshape(self.width, self.height).T
        return pixels.reshape(self.height, self.width)


def runs(
    counts: Sequence[int] | np.ndarray,
    height: int,
    width: int,
    where: str,
    by_columns: bool = True,
    left: int = 0,
    top: int = 0,
) -> Runs:
    """Creates `Runs`, and checks that the lengths cover their window.

    Raises:
      InputError: they do not.
    """
    lengths = np.asarray(counts, np.int64).ravel()
    if (lengths < 0).any() or int(lengths.sum()) != height * width:
        raise InputError(
            f"The run lengths of {where} cover {int(lengths.sum()):,} pixels, but an image "
            f"{width} wide and {height} high has {height * width:,}.",
            _REMEDY,
        )
    return Runs(lengths, height, width, by_columns, left, top)


def coco_runs(rle: Any, size: tuple[int, int], where: str) -> Runs:
    """Parses COCO's `{"size": [height, width], "counts": ...}`.

    Raises:
      InputError: its size is not that of the image, or its counts do not cover it.
    """
    height, width = (int(v) for v in rle["size"])
    if (height, width) != size:
        raise InputError(
            f"The run lengths of {where} are for an image {width} wide and {height} high, but the "
            f"image is {size[1]} wide and {size[0]} high.",
            _REMEDY,
        )
    counts = rle["counts"]
    return runs(
        decode_counts(counts, where) if isinstance(counts, str) else counts, height, width, where
    )


def decode_counts(text: str, where: str) -> list[int]:
    """Decodes COCO's compressed run lengths: 5-bit groups; from the third on, differences.

    >>> decode_counts("02020", "it")
    [0, 2, 0, 4, 0]
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise InputError(f"The run lengths of {where} are damaged.", _REMEDY)
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise InputError(f"The run lengths of {where} are truncated.", _REMEDY)
    return counts


class Alpha(NamedTuple):
    """A brush stroke of Label Studio: the alpha channel of an RGBA image in its own packing."""

    rle: bytes
    height: int
    width: int
    where: str

    def mask(self, height: int, width: int) -> np.ndarray:
        pixels = unpack(self.rle, self.where)
        if pixels.size != self.height * self.width * 4 or (height, width) != self[1:3]:
            raise InputError(
                f"The brush stroke {self.where} has {pixels.size // 4:,} pixels, but its image "
                f"has {height * width:,}.",
                _REMEDY,
            )
        return pixels.reshape(height, width, 4)[:, :, 3] > 0


def unpack(rle: bytes, where: str) -> np.ndarray:
    """Unpacks the values, uint8 [N], in Label Studio's bit packing (its brush.py, `encode_rle`).

    A header has N, the number of bits of a value, and four sizes of counters. Then follow parts:
    one repeated value, or a sequence of values.

    Raises:
      InputError: the data ends too early, or has more values than stated.
    """
    bits = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int(bits[at - size : at], 2)

    try:
        total, word = read(32), read(5) + 1
        if total > 4 * 2**28 or word > 8:
            raise ValueError
        sizes = [read(4) + 1 for _ in range(4)]
        values, done = np.zeros(total, np.uint8), 0
        while done < total:
            is_repeated = read(1)
            end = done + 1 + read(sizes[read(2)])
            if end > total:
                raise ValueError
            if is_repeated:
                values[done:end] = read(word)
            else:
                if at + (end - done) * word > len(bits):
                    raise ValueError
                values[done:end] = [read(word) for _ in range(done, end)]
            done = end
    except ValueError:  # no bits are left
        raise InputError(f"The brush stroke {where} is damaged or truncated.", _REMEDY) from None
    return values
