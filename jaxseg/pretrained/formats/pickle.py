"""Reads the pickles of `torch.save` without running them. A pickle is a program for a stack
machine; the machine in this file supports only the values and tensors of a state dict.

Python's own unpickler is not used. If a pickle names a function or class of a state dict, it gets a
harmless implementation from this file. Other data of training programs (arguments, counters,
NumPy's numbers, objects of their own classes) is skipped: only its name is recorded, and no object
is created. A reference to any other function of Python or PyTorch is an error that names it.
"""

import pickletools
import sys
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import ml_dtypes
import numpy as np

_MAX_STEPS = 500_000  # a ResNet-152 with its optimizer's state takes about 100,000
_FREE_STEPS, _BYTES_PER_STEP = 60_000, 40  # more steps need a larger file; a tensor takes 35
_MAX_CONTAINERS = 50_000  # dicts, lists and sets; a tensor takes one
_MAX_BYTES = 64 << 20  # per pickle; the tensors' values are stored outside
_MAX_LINE = 4096  # bytes; lines contain the names of classes and functions
_MAX_AXES = 64  # longer shapes are refused unread
_MAX_TEXT = 1_000  # characters; longer texts are not converted to bytes
_MAX_KEY = 2**60  # smaller integers are their own hash; larger ones can be made to collide

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


class DamagedPickle(Exception):
    """The pickle is invalid; the message has no full stop."""


class RefusedGlobal(Exception):
    """The pickle names a function or class that no state dict needs; the message is its name."""


class Storage(NamedTuple):
    """A range of values outside the pickle, as described in the pickle.

    Attributes:
      key: its name in the container.
      dtype: dtype of its values.
      length: number of values of the whole storage.
      first, size: the part of the storage that is used.
    """

    key: str
    dtype: np.dtype
    length: int
    first: int
    size: int


class Tensor(NamedTuple):
    """A tensor, as described in a pickle; offset and strides are in elements of the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Unread(NamedTuple):
    """An object in a pickle that is skipped.

    Attributes:
      name: name of its class, or of the function that creates it.
    """

    name: str


class Stream(Protocol):
    """A stream of bytes."""

    def read(self, n: int) -> bytes: ...


def read_pickle(
    stream: Stream, size: int = sys.maxsize, file_size: int = sys.maxsize
) -> tuple[Any, list[Storage]]:
    """Reads the pickle at the current position: plain Python values, dicts and `Tensor`s.

    Reads up to the end of the pickle, but not beyond.

    Args:
      stream: read from its current position.
      size: maximum size of the pickle in bytes; later bytes are never read.
      file_size: bytes of the file that it describes. A step may take a hundred bytes of memory, so
        a small file may have few of them.

    Returns:
      The value, and all storages in the pickle.

    Raises:
      DamagedPickle: it is truncated, or uses operations that no state dict needs.
      RefusedGlobal: it imports something that no state dict needs.
    """
    machine, steps = _Machine(), 0
    most = min(_MAX_STEPS, _FREE_STEPS + file_size // _BYTES_PER_STEP)
    try:
        for operation, argument, _ in pickletools.genops(_Limited(stream, size)):  # type: ignore[arg-type]
            steps += 1
            if steps + machine.work > most:
                raise DamagedPickle(f"its pickle has more than {most:,} steps")
            machine.step(operation.name, argument)
        value = machine.pop()
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise DamagedPickle(f"its pickle cannot be read: {str(error)[:200]}") from None
    return value, machine.storages


class _Limited:
    """A stream with limits on the number of bytes and on the length of a line."""

    def __init__(self, stream: Stream, size: int):
        self._stream, self._left, self._there = stream, _MAX_BYTES, size

    def read(self, n: int) -> bytes:
        n = min(n, self._there)
        self._left -= n
        self._there -= n
        if self._left < 0:
            raise DamagedPickle(f"its pickle has more than {_MAX_BYTES >> 20} MiB")
        return self._stream.read(n)

    def readline(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = self.read(1)
            if not byte:
                break
            line += byte
            if len(line) > _MAX_LINE:
                raise DamagedPickle(f"its pickle has a line of more than {_MAX_LINE:,} bytes")
        return bytes(line)


class _Mark:
    """The start of the items of a list, tuple or dict on the stack."""


class _Function(NamedTuple):
    """The implementation of a function that a pickle may name."""

    call: Callable[..., Any]


class _StorageType(NamedTuple):
    dtype: np.dtype


class _Machine:
    """The stack machine, with a memo of values for reuse.

    Attributes:
      storages: all storages in the pickle.
      work: number of values passed to functions. They count as steps, because one step can pass
        a list of thousands of values, repeatedly.
    """

    def __init__(self) -> None:
        self.work = 0
        self._containers = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self.storages: list[Storage] = []

    def pop(self) -> Any:
        return self._stack.pop()

    def step(self, name: str, argument: Any) -> None:
        """Executes one operation."""
        if name in _CONTAINERS:
            self._containers += _CONTAINERS[name]
            if self._containers > _MAX_CONTAINERS:
                raise DamagedPickle(f"its pickle has more than {_MAX_CONTAINERS:,} containers")
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _VALUES:
            self._stack.append(argument)
        elif name in _TUPLES:
            n = _TUPLES[name]
            if len(self._stack) < n:
                raise IndexError("a tuple has too few items")
            self._stack[-n:] = [tuple(self._stack[-n:])]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name not in ("PROTO", "FRAME", "STOP"):
            operation = getattr(self, f"_{name.lower()}", None)
            if operation is None:
                raise DamagedPickle(f"its pickle uses {name}, which no state dict needs")
            if name == "GLOBAL":
                operation(*argument.split(" ", 1))
            else:
                operation()

    def _items(self) -> list[Any]:
        """Pops the values above the last mark, and the mark."""
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _Mark:
                items = self._stack[at + 1 :]
                del self._stack[at:]
                return items
        raise ValueError("a mark is missing")

    def _tuple(self) -> None:
        self._stack.append(tuple(self._items()))

    def _append(self) -> None:
        item = self.pop()
        if not self._unread():
            _a(list, self._stack[-1]).append(item)

    def _appends(self) -> None:
        items = self._items()
        if not self._unread():
            _a(list, self._stack[-1]).extend(items)

    def _unread(self) -> bool:
        """Whether the value on top is skipped, so that its contents are dropped."""
        return isinstance(self._stack[-1], Unread)

    def _setitem(self) -> None:
        value, key = self.pop(), self.pop()
        if not self._unread():
            _a(dict, self._stack[-1])[_key(key)] = value

    def _setitems(self) -> None:
        items = self._items()
        if self._unread():
            return
        target = _a(dict, self._stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _additems(self) -> None:
        items = self._items()
        _a(set, self._stack[-1]).update(map(_key, items))

    def _global(self, module: str, name: str) -> None:
        storage = name.removeprefix("_") if module in ("torch", "torch.storage") else ""
        if (module, name) in _FUNCTIONS:
            self._stack.append(_Function(_FUNCTIONS[module, name]))
        elif storage in _DTYPES:
            self._stack.append(_StorageType(_DTYPES[storage]))
        elif _holds_data(module, name):
            self._stack.append(Unread(_shown(module, name)))
        else:
            raise RefusedGlobal(_shown(module, name))

    def _stack_global(self) -> None:
        name, module = _a(str, self.pop()), _a(str, self.pop())
        self._global(module, name)

    def _reduce(self) -> None:
        arguments = _a(tuple, self.pop())
        function = self.pop()
        if not isinstance(function, Unread):
            self.work += len(arguments)
            self.work += sum(len(a) for a in arguments if isinstance(a, list | tuple | dict))
            function = _a(_Function, function).call(*arguments)
        self._stack.append(function)

    _newobj = _reduce  # with a class instead of a function

    def _newobj_ex(self) -> None:
        _a(dict, self.pop())  # keyword arguments
        self._reduce()

    def _frozenset(self) -> None:
        self._stack.append(frozenset(map(_key, self._items())))

    def _build(self) -> None:
        self.pop()  # version numbers of the state dict, or attributes of a skipped object
        if not self._unread():
            _a(dict, self._stack[-1])

    def _binpersid(self) -> None:
        identity = _a(tuple, self.pop())
        if len(identity) not in (5, 6) or identity[0] != "storage":
            raise ValueError("an external reference is not a storage")
        _, kind, key, _, length, *view = identity
        first, size = 0, _natural(length)
        if view and view[0] is not None:
            _, first, size = view[0]
        if _natural(first) + _natural(size) > length:
            raise ValueError("a view is larger than its storage")
        storage = Storage(storage_key(key), _a(_StorageType, kind).dtype, length, first, size)
        self.storages.append(storage)
        self._stack.append(storage)


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "MARK": lambda: _Mark,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
_CONTAINERS = {"EMPTY_DICT": 1, "EMPTY_LIST": 1, "EMPTY_SET": 4, "FROZENSET": 4}  # by size
_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} is in the place of a {kind.__name__}")
    return value


def _key(value: Any) -> Any:
    """Checks a dict key: only types whose hash is fast, and integers below `_MAX_KEY`."""
    if not isinstance(value, str | bytes | int | float | Unread | None):
        raise TypeError(f"a {type(value).__name__} is used as a key")
    if isinstance(value, int) and not -_MAX_KEY < value < _MAX_KEY:
        raise ValueError("a key is a number that no state dict has")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("a key is a fraction")
    return value


def storage_key(value: Any) -> str:
    """The name of a storage, which may be given as a number.

    Raises:
      ValueError: it is neither a string nor a number, or too long.
    """
    if not isinstance(value, str | int) or len(name := str(value)) > 100:
        raise ValueError("a storage has an invalid name")
    return name


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a size or an offset is not a whole number of 0 or more")
    return value


def _ordered_dict(pairs: Any = ()) -> dict:
    """OrderedDict(), or the form of Python 2: OrderedDict([[key, value], ...])."""
    if not isinstance(pairs, list | tuple):
        raise TypeError("the items of a dictionary are no list")
    return {_key(key): value for key, value in pairs}


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if max(len(_a(tuple, shape)), len(_a(tuple, strides))) > _MAX_AXES:
        raise ValueError(f"a tensor has more than {_MAX_AXES} axes")
    shape, strides = (tuple(map(_natural, sizes)) for sizes in (shape, strides))
    if len(shape) != len(strides):
        raise ValueError("a tensor has a different number of strides than axes")
    return Tensor(_a(Storage, storage), _natural(offset), shape, strides)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    return _a(Tensor, tensor)


def _encode(text: Any, _: Any = None) -> bytes | Unread:
    """Bytes in pickles of protocol 2; long ones are skipped."""
    return text.encode("latin1") if len(_a(str, text)) <= _MAX_TEXT else Unread("bytes")


def _shown(module: str, name: str) -> str:
    return ascii(f"{module}.{name}"[:200])[1:-1]


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
    ("torch", "Size"): lambda sizes: _a(tuple, sizes),
    ("_codecs", "encode"): _encode,
}
