"""Arrays that stay in their file until they are used."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import overload

import numpy as np

from jaxseg.errors import InputError
from jaxseg.utils.access import check_readable, reason

_MAX_AXES = 32  # supported by both NumPy and JAX
_BLOCK = 2**13  # bytes read at a time if few are requested


@dataclasses.dataclass(frozen=True)
class Stored:
    """The location of an array in a file.

    Attributes:
      offset: position of its first byte.
      dtype: dtype of its elements.
      shape: shape of the array.
      strides: distance in bytes between elements along each axis; at least 0.
    """

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def end(self) -> int:
        """The position after the last element."""
        if 0 in self.shape:
            return self.offset
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + sum((n - 1) * s for n, s in steps) + self.dtype.itemsize

    def open(self, path: pathlib.Path) -> np.ndarray:
        """Reads the array; the result is read-only, and may be unaligned.

        Raises:
          InputError: the file is missing, or has become shorter.
        """
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        with FileBytes(path) as file:
            data = file.stretch(self.offset, self.end)
        return np.ndarray(self.shape, self.dtype, data, 0, self.strides)


def unfit(shape: tuple[int, ...], dtype: np.dtype) -> str | None:
    """The end of a sentence on why no such array can exist; None if it can.

    >>> unfit((0, 2**62), np.dtype("f4"))
    'has a shape that no array can have'
    """
    size = dtype.itemsize
    for n in shape:
        size *= max(n, 1)
    if len(shape) > _MAX_AXES:
        return f"has {len(shape)} axes"
    if any(n < 0 for n in shape) or size >= 2**63:
        return "has a shape that no array can have"
    return None


class FileBytes:
    """The bytes of a file, read when they are used.

    The file is not memory-mapped: if another program truncates a mapped file, an access to the
    missing part kills the process.

    Args:
      path: path of the file.

    Raises:
      InputError: the file cannot be opened; or, later, it has become shorter.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            check_readable(path, depth=0)
            raise self._changed(reason(error)) from None
        self._size = os.fstat(self._file.fileno()).st_size
        self._at = 0
        self._first, self._block = 0, b""

    def __enter__(self) -> "FileBytes":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: int | slice) -> int | bytes:
        if isinstance(key, slice):
            start, stop, _ = key.indices(self._size)
            return self._bytes(start, max(start, stop))
        at = key - self._first
        if not 0 <= at < len(self._block):
            if not 0 <= key < self._size:
                raise IndexError(key)
            self._bytes(key, key + 1)
            at = key - self._first
        return self._block[at]

    def seek(self, at: int) -> None:
        """Sets the position of the next `read`."""
        self._at = at

    def tell(self) -> int:
        """The position of the next `read`."""
        return self._at

    def read(self, n: int) -> bytes:
        """Reads up to `n` bytes."""
        data = self[self._at : self._at + max(n, 0)]
        self._at += len(data)
        return data

    def _bytes(self, start: int, stop: int) -> bytes:
        first = start - self._first
        if 0 <= first and stop - self._first <= len(self._block):
            return self._block[first : stop - self._first]
        if stop - start >= _BLOCK:
            return bytes(self.stretch(start, stop))
        self._first, self._block = start, b""
        self._block = bytes(self.stretch(start, min(start + _BLOCK, self._size)))
        return self._block[: stop - start]

    def stretch(self, start: int, stop: int) -> memoryview:
        """Reads the bytes from `start` to `stop`, which must be in the file."""
        try:
            self._file.seek(start)
            data = bytearray(stop - start)
            view, have = memoryview(data), 0
            while have < len(data):
                n = self._file.readinto(view[have:])
                if not n:
                    raise self._changed("it became shorter")
                have += n
        except OSError as error:
            check_readable(self._path, depth=0)
            raise self._changed(reason(error)) from None
        return view.toreadonly()

    def _changed(self, why: str) -> InputError:
        return InputError(
            f"{self._path} changed while it was read: {why}.",
            "Do not modify the file, and try again.",
        )


def contiguous(shape: tuple[int, ...], step: int) -> tuple[int, ...]:
    """Strides of an array in C order with elements `step` bytes apart.

    >>> contiguous((2, 3, 5), 4)
    (60, 20, 4)
    """
    strides = []
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of one file by name. Each access reads the array again, so that none is kept.

    Arrays have the file's dtype, are read-only and may be unaligned. Names and shapes require no
    reading.

    Args:
      path: the file, which must not change.
      places: the location of each array.
    """

    def __init__(self, path: pathlib.Path, places: dict[str, Stored]):
        self._path = path.absolute()
        self._places = places

    def __getitem__(self, name: str) -> np.ndarray:
        return self._places[name].open(self._path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array, without reading it."""
        return self._places[name].shape
