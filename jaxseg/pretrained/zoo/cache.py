"""The cache: a folder of the user's for files that were fetched, and for what is made of them."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import filelock
import platformdirs

from jaxseg.errors import InputError
from jaxseg.utils.paths import given_path

OFFLINE, CACHE, MIRROR = "JAXSEG_OFFLINE", "JAXSEG_CACHE", "JAXSEG_ZOO_MIRROR"


def cache_folder() -> pathlib.Path:
    """`$JAXSEG_CACHE`, or `jaxseg` in the platform's folder for caches; it may not exist yet."""
    given = os.environ.get(CACHE)
    return (
        given_path(given) if given else pathlib.Path(platformdirs.user_cache_dir("jaxseg", False))
    )


def files_folder() -> pathlib.Path:
    """Where fetched files lie, and where a file that was brought by hand belongs."""
    return cache_folder() / "files"


def converted_folder() -> pathlib.Path:
    """Where converted networks lie, a folder each."""
    return cache_folder() / "networks"


def is_offline() -> bool:
    """Whether `$JAXSEG_OFFLINE` forbids to ask the network."""
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "false", "no")


@contextlib.contextmanager
def locked(folder: pathlib.Path, name: str) -> Iterator[None]:
    """One process at a time makes `name` in `folder`, which is made where it is missing.

    Raises:
      InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / f".{name}.lock")
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise not_writable(folder, error) from None
    try:
        yield
    finally:
        lock.release()


def not_writable(folder: pathlib.Path, error: BaseException) -> InputError:
    """The error for a cache that cannot be written: it is read-only, or the disk is full."""
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        f"The cache folder {folder} cannot be written: {reason}.",
        f"Set {CACHE} to a folder that you can write to, with enough free space.",
    )
