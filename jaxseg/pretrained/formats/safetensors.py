"""Reads `.safetensors` files: the package checks the header; the arrays stay in the file."""

import json
import pathlib
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from jaxseg.errors import InputError
from jaxseg.pretrained.formats.stored import Stored, contiguous, unfit

_MAX_HEADER = 16 << 20  # bytes; a tensor takes 100 of them

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


def read_safetensors(path: pathlib.Path) -> dict[str, Stored]:
    """Locates the arrays of a `.safetensors` file, by name, in the order of the file.

    Raises:
      InputError: the header is damaged or does not match the file, or a dtype is not supported.
    """
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > _MAX_HEADER:
            raise InputError(
                f"{path} is not a complete .safetensors file: its header is too large for any "
                "network.",
                "Download or write it again.",
            )
    try:
        with safetensors.safe_open(path, "numpy"):  # checks all names, shapes, offsets and sizes
            pass
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path} is not a complete .safetensors file: {error}.", "Download or write it again."
        ) from None
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(size), object_pairs_hook=_once)
        except ValueError as error:
            raise InputError(
                f"{path} is not a complete .safetensors file: {error}.",
                "Download or write it again.",
            ) from None
    header.pop("__metadata__", None)
    places = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in _DTYPES:
            raise InputError(
                f"Tensor {name[:80]!r} of {path} has dtype {entry['dtype']}.",
                f"Save it as one of {', '.join(_DTYPES)}.",
            )
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        why = unfit(shape, dtype)
        if why:
            raise InputError(
                f"Tensor {name[:80]!r} of {path} {why}.", "Download or write the file again."
            )
        offset = 8 + size + entry["data_offsets"][0]
        places[name] = Stored(offset, dtype, shape, contiguous(shape, dtype.itemsize))
    return places


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("two of its tensors have the same name")
    return found
