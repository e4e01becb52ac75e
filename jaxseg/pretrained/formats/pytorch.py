"""Reads `.pth` and `.pt` files without PyTorch and without executing anything in them.

`torch.save` writes one of two containers. The zip (since PyTorch 1.6) has the pickled objects in
`data.pkl`, and each storage in its own uncompressed entry. The legacy container is a sequence of
pickles, followed by the lengths and values of the storages. In both cases, the values stay in the
file.
"""

import math
import pathlib
import struct
import zipfile
from collections.abc import Callable
from typing import IO, Any, cast

from jaxseg.errors import InputError
from jaxseg.pretrained.formats.pickle import read_pickle
from jaxseg.pretrained.formats.pickle_names import RefusedGlobal
from jaxseg.pretrained.formats.pickle_values import (
    DamagedPickle,
    Storage,
    Tensor,
    Unread,
    storage_key,
)
from jaxseg.pretrained.formats.stored import FileBytes, Stored, unfit
from jaxseg.utils.bounded import Bounded

_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MAX_LIST = 4 << 20  # bytes of a zip's table of contents; a tensor takes 100 of them

# Keys under which checkpoints store the state dict, next to the optimizer's and others. The first
# one found is used.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")

_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, struct.error),
    *(ValueError, EOFError, OSError, IndexError, OverflowError),
)

_Locate = Callable[[Storage], int]  # returns the position of a storage's first byte


def read_torch(path: pathlib.Path) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """Locates the tensors of a PyTorch state dict, by name and in its order.

    The state dict may be inside a checkpoint.

    Args:
      path: a file of `torch.save`, in either container.

    Returns:
      The tensors, with their own dtypes and strides, and notes.

    Raises:
      InputError: the file is damaged, comes from a big-endian machine, has no state dict, or tries
        to import a function that is not data; the message names it. Other objects are skipped.
    """
    try:
        data = FileBytes(path)
        value, locate = _zip(path, data) if data[:2] == b"PK" else _legacy(data)
        tensors, notes = _state_dict(path, value)
        return {name: _place(name, t, locate) for name, t in tensors.items()}, notes
    except RefusedGlobal as error:
        raise InputError(
            f"{path} contains more than weights: it tries to import {error}, which jaxseg refuses.",
            "If you trust it, load it in PyTorch and save only the weights: "
            "torch.save(model.state_dict(), PATH).",
        ) from None
    except _BigEndian:
        raise InputError(
            f"{path} was written on a big-endian machine.",
            "Load it and save it again on a little-endian machine.",
        ) from None
    except (_Damaged, DamagedPickle) as error:
        raise InputError(
            f"{path} is not a complete PyTorch file: {error}.",
            "Download it again, and compare its size or checksum with the published one.",
        ) from None


class _Damaged(Exception):
    """The file violates the format; the message has no full stop."""


class _BigEndian(Exception):
    """The file's values are big-endian."""


# ---- the two containers


def _legacy(data: FileBytes) -> tuple[Any, _Locate]:
    """The object in a legacy container, and a function that locates its storages."""
    if read_pickle(data)[0] != _LEGACY_MAGIC:
        raise _Damaged("it is a pickle that was not written by torch.save")
    if read_pickle(data)[0] != _LEGACY_PROTOCOL:
        raise _Damaged("its format version is unknown")
    system, _ = read_pickle(data)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise _BigEndian
    value, storages = read_pickle(data, file_size=len(data))
    keys, _ = read_pickle(data, file_size=len(data))
    try:
        names = [storage_key(key) for key in keys]
    except (TypeError, ValueError):
        raise _Damaged("its list of storages is missing") from None
    known, places, at = {storage.key: storage for storage in storages}, {}, data.tell()
    for key in names:
        if key not in known:
            raise _Damaged(f"its storage {key!r} belongs to no tensor")
        if at + 8 > len(data):
            raise _Damaged(f"it ends at byte {len(data):,}, before storage {key!r}")
        (count,) = struct.unpack("<q", data[at : at + 8])
        if count != known[key].length:
            raise _Damaged(f"storage {key!r} has {count:,} values, not {known[key].length:,}")
        places[key], at = at + 8, at + 8 + count * known[key].dtype.itemsize
        if at > len(data):
            raise _Damaged(
                f"it ends at byte {len(data):,}, but storage {key!r} ends at byte {at:,}"
            )

    def locate(storage: Storage) -> int:
        written = known[storage.key]._replace(first=storage.first, size=storage.size)
        if storage.key not in places or storage != written:
            raise _Damaged(f"storage {storage.key!r} is missing")
        return places[storage.key]

    return value, locate


def _zip(path: pathlib.Path, data: FileBytes) -> tuple[Any, _Locate]:
    """The object in a zip container, and a function that locates its storages."""
    try:
        with (
            path.open("rb") as file,
            zipfile.ZipFile(cast(IO[bytes], Bounded(file, _MAX_LIST))) as archive,
        ):
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len(entries) != len(archive.infolist()):
                raise _Damaged("it has two entries with the same name")
    except _ZIP_ERRORS as error:
        raise _Damaged(f"its table of contents is damaged ({error})") from None
    root = next((n.removesuffix("data.pkl") for n in entries if n.endswith("/data.pkl")), None)
    if root is None:
        raise _Damaged("it is a zip file without PyTorch's data.pkl")
    if root + "constants.pkl" in entries:
        raise InputError(
            f"{path} is a TorchScript program, which jaxseg does not execute.",
            "Save only its weights: torch.save(model.state_dict(), PATH).",
        )

    def find(name: str) -> tuple[int, int]:
        """The start and end of an entry's bytes."""
        if root + name not in entries:
            raise _Damaged(f"it has no entry {name!r}")
        return _entry(data, entries[root + name])

    if root + "byteorder" in entries:
        start, stop = find("byteorder")
        if data[start : min(stop, start + 8)] == b"big":
            raise _BigEndian
    start, stop = find("data.pkl")
    data.seek(start)
    value, _ = read_pickle(data, stop - start, len(data))

    def locate(storage: Storage) -> int:
        start, stop = find(f"data/{storage.key}")
        if stop - start < storage.length * storage.dtype.itemsize:
            raise _Damaged(f"storage {storage.key!r} is shorter than its {storage.length:,} values")
        return start

    return value, locate


def _entry(data: FileBytes, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """The start and end of an entry's bytes. Its checksum is not verified, because PyTorch can be
    configured to omit it."""
    at = entry.header_offset
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise _Damaged(f"entry {entry.filename[:80]!r} is compressed, which PyTorch never does")
    if not 0 <= at <= len(data) - 30 or data[at : at + 4] != b"PK\3\4":
        raise _Damaged(f"entry {entry.filename[:80]!r} is not where it should be")
    start = at + 30 + sum(struct.unpack("<HH", data[at + 26 : at + 30]))
    if start + entry.file_size > len(data):
        raise _Damaged(f"entry {entry.filename[:80]!r} reaches beyond the end")
    return start, start + entry.file_size


def _place(name: str, tensor: Tensor, locate: _Locate) -> Stored:
    """The location of a tensor's elements in the file."""
    why = unfit(tensor.shape, tensor.storage.dtype)
    if why:
        raise _Damaged(f"tensor {name[:80]!r} {why}")
    storage, size = tensor.storage, tensor.storage.dtype.itemsize
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((n - 1) * s for n, s in steps)
    if 0 not in tensor.shape and last >= storage.size or math.prod(tensor.shape) > storage.size:
        raise _Damaged(f"tensor {name[:80]!r} has more elements than its storage")
    offset = locate(storage) + size * (storage.first + tensor.offset)
    # an axis with one element may have any stride
    strides = (
        size * (s if n > 1 else 1) for n, s in zip(tensor.shape, tensor.strides, strict=True)
    )
    return Stored(offset, storage.dtype, tensor.shape, tuple(strides))


# ---- the state dict inside


def _state_dict(path: pathlib.Path, value: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors by name, and notes on what was unwrapped, stripped and skipped."""
    notes = []
    found = value if _has_tensors(value) else None
    if found is None and isinstance(value, dict):
        looked_at = {id(v): _has_tensors(v) for v in {id(v): v for v in value.values()}.values()}
        inside = {key: v for key, v in value.items() if isinstance(key, str) and looked_at[id(v)]}
        key = next((w for w in _WRAPPERS if w in inside), None)
        key = key or (next(iter(inside)) if len(inside) == 1 else None)
        if key is not None:
            found = inside[key]
            others = [_named(k, v) for k, v in list(value.items())[:10] if k != key]
            beside = f", beside {', '.join(others)}" if others else ""
            notes.append(f"The weights are in its {key!r}{beside}.")
    if found is None:
        seen = f"a {type(value).__name__.lower()}"
        if isinstance(value, Unread):
            seen = f"an object of {value.name}"
        if isinstance(value, dict):
            seen = f"the keys {', '.join(map(repr, list(value)[:10]))}"[:200]
        raise InputError(
            f"{path} contains no state dict, but {seen}.",
            "Save only the weights: torch.save(model.state_dict(), PATH).",
        )
    tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
    if len(tensors) != sum(isinstance(v, Tensor) for v in found.values()):
        raise _Damaged("two of its tensors have the same name")
    passed = [_named(k, v) for k, v in found.items() if not isinstance(v, Tensor)]
    if passed:
        notes.append(f"Ignored because they are not tensors: {', '.join(passed[:10])}.")
    return tensors, tuple(notes)


def _named(key: Any, value: Any) -> str:
    """The name of a skipped entry, with the class of a skipped object."""
    kind = f" ({value.name})" if isinstance(value, Unread) else ""
    return repr(key)[:40] + kind


def _has_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(v, Tensor) for v in value.values())
