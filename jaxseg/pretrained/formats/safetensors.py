"""Reads `.safetensors` files: the header is checked, the arrays stay in the file.

The reader of the package maps the file: if another program truncates it, the system ends the
process. This one reads the header entry by entry, so that a large one costs little memory.
"""

import json
import math
import pathlib
import re
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

import ml_dtypes
import numpy as np

from jaxseg.errors import InputError
from jaxseg.pretrained.formats.stored import FileBytes, Stored, contiguous, unfit

_MAX_HEADER = 8 << 20  # bytes; a tensor takes 100 of them
_MAX_ENTRY, _MAX_METADATA = 2_000, 1 << 20  # characters of one entry, and of `__metadata__`

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_FREE_TENSORS, _BYTES_PER_TENSOR = 10_000, 400  # limits; a tensor needs 400 bytes here
_SPACE = re.compile(r"[ \t\r\n]*")
_JSON = json.JSONDecoder()


def read_safetensors(path: pathlib.Path) -> dict[str, Stored]:
    """Locates the arrays of a `.safetensors` file, by name, in the order of the file.

    Raises:
      InputError: the header is damaged or does not match the file, or a dtype is not supported.
    """
    with FileBytes(path) as file:
        try:
            return _places(path, file)
        except (ValueError, RecursionError, KeyError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            reason = "a value is missing" if isinstance(error, LookupError) else error
            raise InputError(
                f"{path} is not a complete .safetensors file: {reason}.",
                "Download or write it again.",
            ) from None


def _places(path: pathlib.Path, file: FileBytes) -> dict[str, Stored]:
    size = int.from_bytes(file[:8], "little")
    if size > _MAX_HEADER:
        raise ValueError("its header is too large for any network")
    if 8 + size > len(file):
        raise ValueError("its header ends after the file")
    most = _FREE_TENSORS + len(file) // _BYTES_PER_TENSOR
    found: dict[str, Stored] = {}
    left = most
    for name, entry in _entries(file[8 : 8 + size].decode("utf-8", "strict")):
        if name == "__metadata__":
            continue
        if name in found:
            raise ValueError("two of its tensors have the same name")
        found[name] = place = _stored(path, name, entry, 8 + size)
        left -= 1 + len(place.shape) // 8
        if left < 0:
            raise ValueError(f"it has more than {most:,} tensors")
    places = dict(sorted(found.items(), key=lambda item: (item[1].offset, item[1].end)))
    at = 8 + size
    for name, place in places.items():
        if place.offset != at:
            raise ValueError(f"tensor {name[:80]!r} does not begin where the one before ends")
        at = place.end
    if at != len(file):
        raise ValueError(f"its tensors end at byte {at:,}, but the file at {len(file):,}")
    return places


def _entries(text: str) -> Iterator[tuple[str, Any]]:
    """Name and value of each member of a JSON object."""
    at = _after(text, 0, "{")
    while text[at] != "}":
        name, at = scanstring(text, _after(text, at, '"', space=False))
        at = _after(text, _SPACE.match(text, at).end(), ":")  # type: ignore[union-attr]
        most = _MAX_METADATA if name == "__metadata__" else _MAX_ENTRY
        value, used = _JSON.raw_decode(text[at : at + most])
        at = _SPACE.match(text, at + used).end()  # type: ignore[union-attr]
        if text[at] == ",":
            at = _after(text, at, ",")
            if text[at] != '"':
                raise ValueError("its header is no JSON")
        elif text[at] != "}":
            raise ValueError("its header is no JSON")
        yield name, value
    if text[at + 1 :].strip(" \t\r\n\0"):
        raise ValueError("something follows its header")


def _after(text: str, at: int, expected: str, space: bool = True) -> int:
    """The position after an expected character, and after the white space that follows."""
    if text[at] != expected:
        raise ValueError("its header is no JSON")
    return _SPACE.match(text, at + 1).end() if space else at + 1  # type: ignore[union-attr]


def _stored(path: pathlib.Path, name: str, entry: Any, start: int) -> Stored:
    """The location of an entry's array; `start` is the first byte after the header."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of tensor {name[:80]!r} is malformed")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise ValueError(f"the shape or place of tensor {name[:80]!r} is malformed")
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise InputError(
            f"Tensor {name[:80]!r} of {path} has dtype {str(kind)[:40]}.",
            f"Save it as one of {', '.join(_DTYPES)}.",
        )
    dtype, (begin, end) = _DTYPES[kind], offsets
    why = unfit(tuple(shape), dtype)
    if why:
        raise InputError(
            f"Tensor {name[:80]!r} of {path} {why}.", "Download or write the file again."
        )
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"tensor {name[:80]!r} has another size than its shape")
    return Stored(start + begin, dtype, tuple(shape), contiguous(tuple(shape), dtype.itemsize))


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**64 for n in values)
