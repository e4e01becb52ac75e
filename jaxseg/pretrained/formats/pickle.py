"""Reads the pickles of `torch.save` without running them. A pickle is a program for a stack
machine; the machine in this file supports only the values and tensors of a state dict.

Python's own unpickler is not used. If a pickle names a function or class of a state dict, it gets a
harmless implementation from `pickle_names`. Other data of training programs (arguments, counters,
NumPy's numbers, objects of their own classes) is skipped: only its name is recorded, and no object
is created. A reference to any other function of Python or PyTorch is an error that names it.
"""

import pickletools
import sys
from collections.abc import Callable
from typing import Any, Protocol

from jaxseg.pretrained.formats.pickle_names import Function, StorageType, resolve
from jaxseg.pretrained.formats.pickle_values import (
    DamagedPickle,
    Storage,
    Unread,
    dict_key,
    natural,
    of_type,
    storage_key,
)

_MAX_STEPS = 500_000  # a ResNet-152 with its optimizer's state takes about 100,000
_FREE_STEPS, _BYTES_PER_STEP = 60_000, 40  # more steps need a larger file; a tensor takes 35
_MAX_CONTAINERS = 50_000  # dicts, lists and sets; a tensor takes one
_MAX_BYTES = 64 << 20  # per pickle; the tensors' values are stored outside
_MAX_LINE = 4096  # bytes; lines contain the names of classes and functions


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
            of_type(list, self._stack[-1]).append(item)

    def _appends(self) -> None:
        items = self._items()
        if not self._unread():
            of_type(list, self._stack[-1]).extend(items)

    def _unread(self) -> bool:
        """Whether the value on top is skipped, so that its contents are dropped."""
        return isinstance(self._stack[-1], Unread)

    def _setitem(self) -> None:
        value, key = self.pop(), self.pop()
        if not self._unread():
            of_type(dict, self._stack[-1])[dict_key(key)] = value

    def _setitems(self) -> None:
        items = self._items()
        if self._unread():
            return
        target = of_type(dict, self._stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[dict_key(key)] = value

    def _additems(self) -> None:
        items = self._items()
        of_type(set, self._stack[-1]).update(map(dict_key, items))

    def _global(self, module: str, name: str) -> None:
        self._stack.append(resolve(module, name))

    def _stack_global(self) -> None:
        name, module = of_type(str, self.pop()), of_type(str, self.pop())
        self._global(module, name)

    def _reduce(self) -> None:
        arguments = of_type(tuple, self.pop())
        function = self.pop()
        if not isinstance(function, Unread):
            self.work += len(arguments)
            self.work += sum(len(a) for a in arguments if isinstance(a, list | tuple | dict))
            function = of_type(Function, function).call(*arguments)
        self._stack.append(function)

    _newobj = _reduce  # with a class instead of a function

    def _newobj_ex(self) -> None:
        of_type(dict, self.pop())  # keyword arguments
        self._reduce()

    def _frozenset(self) -> None:
        self._stack.append(frozenset(map(dict_key, self._items())))

    def _build(self) -> None:
        self.pop()  # version numbers of the state dict, or attributes of a skipped object
        if not self._unread():
            of_type(dict, self._stack[-1])

    def _binpersid(self) -> None:
        identity = of_type(tuple, self.pop())
        if len(identity) not in (5, 6) or identity[0] != "storage":
            raise ValueError("an external reference is not a storage")
        _, kind, key, _, length, *view = identity
        first, size = 0, natural(length)
        if view and view[0] is not None:
            _, first, size = view[0]
        if natural(first) + natural(size) > length:
            raise ValueError("a view is larger than its storage")
        storage = Storage(storage_key(key), of_type(StorageType, kind).dtype, length, first, size)
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
