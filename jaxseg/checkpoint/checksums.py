"""Checksums of a checkpoint's arrays: they show whether restored arrays are the saved ones.

XXH3 detects damage, not manipulation: whoever can write a checkpoint can also write its checksums.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import xxhash
from jax.tree_util import keystr

from jaxseg.distributed.multihost import gather_values

_THREADS = 4

Entry = Mapping[str, Any]
"""The entry of one array: its `dtype`, its `shape`, and `parts`, the checksum of each part that one
device held, by its bounds: "0:3,0:64"."""


def checksums(tree: Any) -> dict[str, Entry]:
    """The entries of all arrays by path ("params/conv1_1/kernel"), ready for JSON.

    All processes must call this function; each computes the checksums of its own parts.

    Args:
      tree: a pytree of JAX or NumPy arrays.
    """
    arrays = named(tree)
    with ThreadPoolExecutor(_THREADS) as pool:  # hashing releases the GIL; memory is the limit
        parts = list(pool.map(_parts, arrays.values()))
    entries: dict[str, Entry] = {
        name: {"dtype": str(array.dtype), "shape": list(array.shape), "parts": found}
        for (name, array), found in zip(arrays.items(), parts, strict=True)
    }
    if all(_is_whole(array) for array in jax.tree.leaves(tree)):
        return entries
    for others in gather_values({name: entry["parts"] for name, entry in entries.items()}):
        for name, parts in others.items():
            entries[name]["parts"].update(parts)
    return entries


def differing(tree: Any, entries: Mapping[str, Entry]) -> str | None:
    """The path of an array that does not match its entry; None if all match.

    Args:
      tree: a pytree of JAX or NumPy arrays. Of an array that is sharded over processes, only the
        local parts are checked. An array with another dtype than the saved one was converted, and
        is not checked.
      entries: the entries of these arrays; may include others.
    """
    for name, array in named(tree).items():
        entry = entries.get(name)
        if entry is None or list(array.shape) != list(entry["shape"]):
            return name
        if str(array.dtype) != entry["dtype"]:
            continue
        held, missing = _held(array), array.size
        for place, saved in entry["parts"].items():
            wanted = _from_words(place)
            for first, values in held:
                if _inside(wanted, first, values.shape):
                    part = values[
                        tuple(
                            slice(a - low, b - low)
                            for (a, b), low in zip(wanted, first, strict=True)
                        )
                    ]
                    if checksum(part) != saved:
                        return name
                    missing -= part.size
                    break
        if missing and len(held) == 1 and held[0][1].shape == array.shape:
            return name  # a part without a checksum
    return None


def named(tree: Any) -> dict[str, Any]:
    """The arrays of a pytree by path; a state and Orbax's metadata give the same paths."""
    arrays, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {keystr(path, simple=True, separator="/"): array for path, array in arrays}


def checksum(values: np.ndarray) -> str:
    """XXH3 of the bytes of an array in C order, 64 bits in hex.

    >>> checksum(np.zeros((2, 3), np.float32))
    '743df94ee4c78a2a'
    """
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(values).reshape(-1).view(np.uint8))


def _parts(array: Any) -> dict[str, str]:
    """The checksums that this process must compute: each part once, by one of its holders."""
    if not isinstance(array, jax.Array):
        return {_in_words([(0, n) for n in array.shape]): checksum(np.asarray(array))}
    if _is_whole(array):
        values = array.addressable_data(0)
        return {_in_words([(0, n) for n in array.shape]): checksum(np.asarray(values))}
    return {
        _in_words(_bounds(shard.index, array.shape)): checksum(np.asarray(shard.data))
        for shard in array.addressable_shards
        if shard.replica_id == 0
    }


def _held(array: Any) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """The parts of an array that this process holds: first index and values of each part."""
    if not isinstance(array, jax.Array):
        return [((0,) * array.ndim, np.asarray(array))]
    if array.is_fully_addressable:
        return [((0,) * array.ndim, np.asarray(array))]
    return [
        (tuple(a for a, _ in _bounds(shard.index, array.shape)), np.asarray(shard.data))
        for shard in array.addressable_shards
    ]


def _is_whole(array: Any) -> bool:
    return not isinstance(array, jax.Array) or array.is_fully_replicated


def _bounds(index: tuple[slice, ...], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    return [s.indices(n)[:2] for s, n in zip(index, shape, strict=True)]


def _inside(wanted: list[tuple[int, int]], first: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return all(
        low <= a and b <= low + n for (a, b), low, n in zip(wanted, first, shape, strict=True)
    )


def _in_words(bounds: list[tuple[int, int]]) -> str:
    return ",".join(f"{a}:{b}" for a, b in bounds)


def _from_words(place: str) -> list[tuple[int, int]]:
    pairs = [part.split(":") for part in place.split(",")] if place else []
    return [(int(a), int(b)) for a, b in pairs]
