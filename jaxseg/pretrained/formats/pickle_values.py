"""What a pickle of `torch.save` describes: tensors and their storages, and checks of its values."""

from typing import Any, NamedTuple

import numpy as np

_MAX_KEY = 2**60  # smaller integers are their own hash; larger ones can be made to collide


class DamagedPickle(Exception):
    """The pickle is invalid; the message has no full stop."""


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


def of_type(kind: type, value: Any) -> Any:
    """The value, if its type is exactly `kind`; else raises a TypeError."""
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} is in the place of a {kind.__name__}")
    return value


def dict_key(value: Any) -> Any:
    """The value, if it may be a key: only types whose hash is fast, and integers below `_MAX_KEY`.

    Raises:
      TypeError, ValueError: it may not.
    """
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


def natural(value: Any) -> int:
    """The value, if it is a size or an offset: a whole number from 0; else raises a ValueError."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a size or an offset is not a whole number of 0 or more")
    return value
