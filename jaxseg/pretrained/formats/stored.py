"""Arrays that stay in their file until they are asked for."""

import dataclasses
import mmap
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from jaxseg.errors import InputError


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where an array lies in a file.

    Attributes:
      offset: byte of its first element.
      dtype: of its elements.
      shape: of the array.
      strides: bytes from one element to the next, along each axis; at least 0.
    """

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def end(self) -> int:
        """The first byte after the last element."""
        if 0 in self.shape:
            return self.offset
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + sum((n - 1) * s for n, s in steps) + self.dtype.itemsize

    def open(self, path: pathlib.Path) -> np.ndarray:
        """A view of the file: read-only, read page by page as it is used, perhaps unaligned.

        Raises:
          InputError: the file is gone, or shorter than it was.
        """
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        first = self.offset - self.offset % mmap.ALLOCATIONGRANULARITY
        try:
            with path.open("rb") as file:
                size = self.end - first
                pages = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ, offset=first)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} changed while it was read: {error}.", "Leave the file as it is; try again."
            ) from None
        return np.ndarray(self.shape, self.dtype, pages, self.offset - first, self.strides)


def map_file(path: pathlib.Path) -> mmap.mmap:
    """The bytes of a file, read page by page as they are used; the file must not be empty."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def contiguous(shape: tuple[int, ...], step: int) -> tuple[int, ...]:
    """Strides of an array in C order whose elements begin `step` bytes apart.

    >>> contiguous((2, 3, 5), 4)
    (60, 20, 4)
    """
    strides = []
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


class StoredArrays(Mapping[str, np.ndarray]):
    """Arrays of one file by name. Each look-up maps the array anew, so that none is kept.

    The result shares its memory with the file's pages: read-only, of the file's dtype, and
    perhaps unaligned; `numpy.array(a, numpy.float32)` makes an array of its own of it. Names and
    shapes cost no reading.

    Args:
      path: the file, which must stay as it is.
      places: where each array lies.
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
        """The shape of an array, which stays in the file."""
        return self._places[name].shape
