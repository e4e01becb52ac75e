"""The functions and classes that a pickle of `torch.save` may name, and what stands for each."""

import sys
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxseg.pretrained.formats.pickle_values import (
    Storage,
    Tensor,
    Unread,
    dict_key,
    natural,
    of_type,
)

_MAX_AXES = 64  # longer shapes are refused unread
_MAX_TEXT = 1_000  # characters; longer texts are not converted to bytes

_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class RefusedGlobal(Exception):
    """The pickle names a function or class that no state dict needs; the message is its name."""


class Function(NamedTuple):
    """The implementation of a function that a pickle may name."""

    call: Callable[..., Any]


class StorageType(NamedTuple):
    """A type of storage, by the dtype of its values."""

    dtype: np.dtype


def resolve(module: str, name: str) -> Function | StorageType | Unread:
    """What stands for the function or class `name` of `module`.

    Raises:
      RefusedGlobal: no state dict needs it.
    """
    storage = name.removeprefix("_") if module in ("torch", "torch.storage") else ""
    if (module, name) in _FUNCTIONS:
        return Function(_FUNCTIONS[module, name])
    if storage in _DTYPES:
        return StorageType(_DTYPES[storage])
    shown = ascii(f"{module}.{name}"[:200])[1:-1]
    if _holds_data(module, name):
        return Unread(shown)
    raise RefusedGlobal(shown)


def _ordered_dict(pairs: Any = ()) -> dict:
    """OrderedDict(), or the form of Python 2: OrderedDict([[key, value], ...])."""
    if not isinstance(pairs, list | tuple):
        raise TypeError("the items of a dictionary are no list")
    return {dict_key(key): value for key, value in pairs}


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if max(len(of_type(tuple, shape)), len(of_type(tuple, strides))) > _MAX_AXES:
        raise ValueError(f"a tensor has more than {_MAX_AXES} axes")
    shape, strides = (tuple(map(natural, sizes)) for sizes in (shape, strides))
    if len(shape) != len(strides):
        raise ValueError("a tensor has a different number of strides than axes")
    return Tensor(of_type(Storage, storage), natural(offset), shape, strides)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    return of_type(Tensor, tensor)


def _encode(text: Any, _: Any = None) -> bytes | Unread:
    """Bytes in pickles of protocol 2; long ones are skipped."""
    return text.encode("latin1") if len(of_type(str, text)) <= _MAX_TEXT else Unread("bytes")


def _holds_data(module: str, name: str) -> bool:
    """Whether an object of that class can be skipped: by its name, it is only data."""
    if (module, name) in _DATA or module in _DATA_MODULES:
        return True
    top = module.partition(".")[0]
    pythons = top in sys.stdlib_module_names or top in IMPORT_MAPPING  # also names of Python 2
    return not pythons and top != "torch"


_BUILTINS = (
    *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"),
    *("object", "range", "set", "slice", "str", "tuple"),
)
_DATA = {
    *((module, name) for module in ("builtins", "__builtin__") for name in _BUILTINS),
    *(("collections", name) for name in ("Counter", "deque")),
    *(("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")),
    *(("argparse", "Namespace"), ("types", "SimpleNamespace"), ("torch", "device")),
    *(("torch", name) for name in ("float16", "bfloat16", "float32", "float64", "int64", "uint8")),
}
_DATA_MODULES = ("pathlib", "pathlib._local", "datetime", "decimal", "fractions", "uuid")

_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "defaultdict"): lambda *_: {},
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch", "Size"): lambda sizes: of_type(tuple, sizes),
    ("_codecs", "encode"): _encode,
}
