"""Errors for a full disk or memory, from the exceptions of any library."""

import errno
import pathlib
import re
from collections.abc import Iterator

from jaxseg.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = ("No space left", "Disk quota exceeded", "File too large")
_MEMORY_WORDS = (
    *("Out of memory", "out of memory", "OUT_OF_MEMORY", "Cannot allocate memory"),
    *("std::bad_alloc", "Unable to allocate", "bad allocation"),
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}


def disk_is_full(error: BaseException) -> bool:
    """Whether a full disk caused an error, also inside Orbax or TensorStore.

    >>> disk_is_full(OSError(28, "No space left on device")), disk_is_full(ValueError("no"))
    (True, False)
    """
    return any(
        (isinstance(e, OSError) and e.errno in _FULL) or any(w in str(e) for w in _FULL_WORDS)
        for e in _behind(error)
        if not isinstance(e, InputError)
    )


def memory_is_full(error: BaseException) -> bool:
    """Whether the device or the host has run out of memory.

    >>> memory_is_full(MemoryError()), memory_is_full(ValueError("no"))
    (True, False)
    """
    return any(
        isinstance(e, MemoryError)
        or (not isinstance(e, InputError) and any(w in str(e) for w in _MEMORY_WORDS))
        for e in _behind(error)
    )


def full_disk(place: pathlib.Path, kept: str) -> InputError:
    """The InputError for a full disk.

    Args:
      place: the path being written.
      kept: end of a sentence about the data that is safe: "step 5 is saved".
    """
    return InputError(
        f"The disk of {place} is full: {kept}.",
        "Free some space there, and run the same command again.",
    )


def full_memory(error: BaseException, what: str, remedy: str) -> InputError:
    """The InputError for exhausted memory; it names the requested size, if known.

    Args:
      error: the exception.
      what: start of the sentence: the operation that needs the memory.
      remedy: sentence on how to use less memory.
    """
    size = asked_for(error)
    asked = "" if size is None else f": {in_words(size)} more were requested"
    return InputError(f"{what} needs more memory than is available{asked}.", remedy)


def asked_for(error: BaseException) -> int | None:
    """The size of the failed allocation in bytes, from the messages of JAX or NumPy.

    >>> asked_for(MemoryError("Unable to allocate 1.50 GiB for an array with shape (9,)"))
    1610612736
    >>> asked_for(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes."))
    4096
    """
    for e in _behind(error):
        found = re.search(r"(?:allocat\w*|for) ([\d.]+) ?([KMGTPE]?)(?:i?B\b|bytes)", str(e))
        if found:
            return int(float(found[1].rstrip(".")) * _UNITS[found[2]])
    return None


def in_words(size: int) -> str:
    """A number of bytes in readable form.

    >>> in_words(3 * 2**29)
    '1.5 GiB'
    """
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and, recursively, its causes and contexts."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        e = waiting.pop()
        if e is None or id(e) in seen:
            continue
        seen.add(id(e))
        yield e
        waiting += [e.__cause__, e.__context__, *getattr(e, "exceptions", ())]
