"""The interface of a data set: a sequence of examples, with its classes."""

import threading
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from jaxseg.errors import InputError, plain
from jaxseg.utils.image_kind import RGB, ImageKind

IGNORE = 255  # label of pixels that are ignored in training and metrics, as in PASCAL VOC


class Example(NamedTuple):
    """One image and its labels."""

    image: np.ndarray  # uint8 [H, W, 3], RGB; or [H, W, channels] of the source's `ImageKind`
    label: np.ndarray  # uint8 [H, W], a class index in 0..C-1 or 255 (ignore)
    name: str  # for messages and reports


_MOST = 200  # characters of a name


@dataclass(frozen=True)
class DataInfo:
    """The classes of a data set. Names are made `plain`: they come from files, and are printed.

    Raises:
      InputError: there are more classes than fit in a byte, or not one colour per class.

    >>> DataInfo("pets", ("background", "cat"), ((0, 0, 0), (255, 128, 0))).num_classes
    2
    >>> DataInfo("pets", ("cat\\nfix: run this",), ((0, 0, 0),)).class_names
    ('cat\\\\nfix: run this',)
    """

    name: str
    class_names: tuple[str, ...]  # C names, in the order of the label values
    palette: tuple[tuple[int, int, int], ...]  # C colours, each (r, g, b) in 0..255
    ignore_label: int = IGNORE
    # number of examples in the published splits; empty for a folder of the user
    splits: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self):
        names = tuple(plain(name, _MOST) for name in self.class_names)
        object.__setattr__(self, "name", plain(self.name, _MOST))
        object.__setattr__(self, "class_names", names)
        if not 0 < len(self.class_names) <= IGNORE:
            raise InputError(
                f"Data set '{self.name}' has {len(self.class_names)} classes.",
                f"Give 1 to {IGNORE} classes: labels are bytes, and {IGNORE} means ignore.",
            )
        if len(self.palette) != len(self.class_names):
            raise InputError(
                f"Data set '{self.name}' has {len(self.class_names)} classes "
                f"but {len(self.palette)} colours.",
                "Give one colour for each class.",
            )

    @property
    def num_classes(self) -> int:
        """The number of classes, without the ignore label."""
        return len(self.class_names)


class Source(Protocol):
    """A data set with random access; picklable, and safe to use from many threads."""

    @property
    def info(self) -> DataInfo:
        """The classes."""
        ...

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def __getitem__(self, index: int, /) -> Example:
        """Example `index` in 0..len-1, decoded and checked; its arrays must not be modified.

        Raises:
          InputError: a file is missing, broken or of the wrong kind.
        """
        ...

    def name(self, index: int, /) -> str:
        """The name of example `index`, without reading it."""
        ...

    def size(self, index: int, /) -> tuple[int, int]:
        """(height, width) of example `index` in pixels, without decoding it."""
        ...


class Cached:
    """A source that caches every decoded example, with 3 + 1 bytes per pixel.

    A pickled copy has an empty cache, so each worker process has its own.
    """

    def __init__(self, source: Source):
        self._source = source
        self._examples: dict[int, Example] = {}
        self._lock = threading.Lock()

    def __reduce__(self):
        return type(self), (self._source,)

    @property
    def info(self) -> DataInfo:
        return self._source.info

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        with self._lock:
            example = self._examples.get(index)
        if example is None:  # two threads may decode it at once; both return the same object
            example = self._source[index]
            example.image.flags.writeable = example.label.flags.writeable = False
            with self._lock:
                example = self._examples.setdefault(index, example)
        return example

    def name(self, index: int) -> str:
        return self._source.name(index)

    def size(self, index: int) -> tuple[int, int]:
        return self._source.size(index)

    @property
    def kind(self) -> ImageKind:
        return kind_of(self._source)

    @property
    def revision(self) -> str | None:
        """The revision of a repository; None for other sources."""
        return getattr(self._source, "revision", None)

    @property
    def notes(self) -> Sequence[str]:
        """Notes on automatic choices."""
        return getattr(self._source, "notes", ())

    def photo_file(self, index: int) -> Hashable | None:
        """The file or files of an example's photo; None if there is none."""
        return photo_file(self._source, index)

    def mask_file(self, index: int) -> Path | None:
        """The file of an example's mask; None if there is none."""
        return mask_file(self._source, index)


def kind_of(source: Source) -> ImageKind:
    """The kind of a source's images; 8-bit RGB if it has no attribute `kind`."""
    return getattr(source, "kind", RGB)


def photo_file(source: Source, index: int) -> Hashable | None:
    """The file or files of an example's photo; None for a source without such files."""
    find = getattr(source, "photo_file", None)
    return None if find is None else find(index)


def mask_file(source: Source, index: int) -> Path | None:
    """The file of an example's mask; None for a source without such files."""
    find = getattr(source, "mask_file", None)
    return None if find is None else find(index)
