"""Atomic writes: a reader sees the complete new file or the previous one."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import BinaryIO

from jaxseg.errors import InputError
from jaxseg.utils.bucket import is_bucket


@contextlib.contextmanager
def atomic_file(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A new file that replaces `path` when the body ends; an error in the body removes it.

    Raises:
      InputError: `path` is a device or a pipe, such as /dev/stdout, which must not be replaced.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a device or a pipe, not a file.", "Give the name of a file.")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def write_atomic(path: pathlib.Path, text: str) -> None:
    """Writes `text` in UTF-8; characters of file names without a code are escaped: \\udcff.

    Every write to a bucket is atomic.
    """
    data = text.encode("utf-8", "backslashreplace")
    if is_bucket(path):
        path.write_bytes(data)
        return
    with atomic_file(path) as file:
        file.write(data)
