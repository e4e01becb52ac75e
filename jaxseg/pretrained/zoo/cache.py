"""The cache: a folder for downloaded files and converted networks."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import filelock
import platformdirs

from jaxseg.errors import InputError
from jaxseg.utils.access import reason
from jaxseg.utils.paths import given_path

OFFLINE, CACHE, MIRROR = "JAXSEG_OFFLINE", "JAXSEG_CACHE", "JAXSEG_ZOO_MIRROR"
ANOTHER_CACHE = f"Set {CACHE} to a folder that you can write to, with enough free space."


def cache_folder() -> pathlib.Path:
    """`$JAXSEG_CACHE`, or `jaxseg` in the platform's cache folder; it may not exist yet."""
    given = os.environ.get(CACHE)
    return (
        given_path(given) if given else pathlib.Path(platformdirs.user_cache_dir("jaxseg", False))
    )


def files_folder() -> pathlib.Path:
    """The folder of downloaded files; a file copied by hand also belongs there."""
    return cache_folder() / "files"


def converted_folder() -> pathlib.Path:
    """The folder of converted networks, which have a subfolder each."""
    return cache_folder() / "networks"


def is_offline() -> bool:
    """Whether `$JAXSEG_OFFLINE` disables network access."""
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "false", "no")


@contextlib.contextmanager
def locked(folder: pathlib.Path, name: str) -> Iterator[None]:
    """A lock for creating `name` in `folder`, one process at a time; creates the folder.

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


def not_writable(folder: pathlib.Path, error: Exception) -> InputError:
    """The error for a cache that cannot be written: read-only, or on a full disk."""
    return InputError(
        f"The cache folder {folder} cannot be written: {reason(error)}.", ANOTHER_CACHE
    )
