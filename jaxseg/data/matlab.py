"""Label maps in MATLAB files (version 5), as published with SBD and PASCAL-Context.

This reader supports only these two kinds of files. SciPy's reader crashes the process on some
damaged files, so that a run could not skip them.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxseg.data.image_file import check_size, read_regular
from jaxseg.errors import InputError
from jaxseg.utils.access import reason, remedy_for

_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_MATRIX, _COMPRESSED = 14, 15  # types of elements that contain others
_STRUCT, _NUMERIC = 2, range(6, 16)  # classes of arrays
_LARGEST = 2**28  # bytes of an unpacked element: a label map of 134 million pixels


def read_mat_labels(path: Path) -> np.ndarray:
    """The label map in `path`, [H, W] of an unsigned integer type, as stored.

    It is `GTcls.Segmentation` (SBD: classes 0..20), `GTinst.Segmentation` (SBD: objects 1, 2, ...)
    or `LabelMap` (PASCAL-Context: 1..459).

    Raises:
      InputError: the file is damaged, or has none of these.
    """
    try:
        labels = _find(read_regular(path))
    except (OSError, ValueError, struct.error, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({reason(error)}).",
            remedy_for(error, "Replace the file with an undamaged one, or remove it."),
        ) from error
    if labels is None or labels.ndim != 2 or labels.size == 0 or labels.dtype.kind != "u":
        raise InputError(
            f"{path} contains no label map.",
            "Give a file from SBD's cls or inst folder or from PASCAL-Context's trainval folder.",
        )
    check_size(path, labels.shape[1], labels.shape[0])
    return labels


def _find(content: bytes) -> np.ndarray | None:
    """The label map among the variables of a file; None if there is none."""
    if len(content) < 128 or content[126:128] not in (b"IM", b"MI"):
        raise ValueError("it is not a version 5 MATLAB file")
    order = "<" if content[126:128] == b"IM" else ">"
    for kind, data in _elements(content[128:], order):
        if kind == _COMPRESSED:
            kind, data = next(_elements(_unpacked(data), order), (0, b""))
        if kind != _MATRIX:
            continue
        name, value = _array(data, order)
        if name == "LabelMap" and isinstance(value, np.ndarray):
            return value
        if name in ("GTcls", "GTinst") and isinstance(value, dict) and "Segmentation" in value:
            name, value = _array(value["Segmentation"], order)
            return value if isinstance(value, np.ndarray) else None
    return None


def _unpacked(data: bytes) -> bytes:
    """Decompresses an element, and verifies the checksum at its end."""
    unpack = zlib.decompressobj()
    content = unpack.decompress(data, _LARGEST)
    if not unpack.eof:
        raise ValueError("it ends too early, or is too large")
    return content


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, content) of the elements in `data`, in order."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # a small element: four bytes of content after a tag of four
            kind, size, begin, at = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError("an element has an impossible size")
        else:
            begin = at + 8
            at = begin + size + (-size % 8 if kind != _COMPRESSED else 0)
        if begin + size > len(data):
            raise ValueError("it ends too early")
        yield kind, data[begin : begin + size]


def _array(data: bytes, order: str) -> tuple[str, np.ndarray | dict[str, bytes] | None]:
    """Name and value of an array: numbers, or the raw fields of a structure; otherwise None."""
    elements = _elements(data, order)

    def part() -> tuple[int, bytes]:
        found = next(elements, None)
        if found is None:
            raise ValueError("an array is truncated")
        return found

    flags, (_, sizes), (_, name) = part()[1], part(), part()
    kind = struct.unpack_from(order + "I", flags)[0] & 0xFF
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    title = name.decode("ascii")
    if kind == _STRUCT:
        width = struct.unpack(order + "i", part()[1])[0]
        names = part()[1]
        if width < 1:
            raise ValueError("a structure has names of no length")
        fields = [names[i : i + width].split(b"\0")[0] for i in range(0, len(names), width)]
        return title, {field.decode("ascii"): part()[1] for field in fields}
    if kind not in _NUMERIC:
        return title, None
    stored, numbers = part()
    if stored not in _TYPES or min(shape, default=-1) < 0:
        raise ValueError("an array has an unknown type or shape")
    return title, np.frombuffer(numbers, order + _TYPES[stored]).reshape(shape, order="F")
