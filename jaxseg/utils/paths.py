"""Paths as people give them."""

import errno
import os
import pathlib
import re

from jaxseg.errors import InputError

_SHOWN = 60  # characters of a path in a message


def given_path(path: str | os.PathLike) -> pathlib.Path:
    """A path that came from outside: from a command line, a config or a caller.

    Every such path passes here before it reaches the system, which has many kinds of errors for
    one that it cannot take, other ones in each version of Python.

    Args:
      path: of a file or folder, that may exist; `~` is the home.

    Raises:
      InputError: no file can have such a path: it is too long, or holds a NUL byte or a half of a
        character; or it is an address.

    >>> given_path("runs/camvid").name
    'camvid'
    >>> given_path("runs/a\\0b")
    Traceback (most recent call last):
    jaxseg.errors.InputError: 'runs/a\\x00b' is not a valid path: ...
    """
    if isinstance(path, str) and re.match(r"(https?|ftp|s3|hdfs|file)://", path):
        raise InputError(
            f"{path} is a URL, not a file.", "Download it, and give the path of the file."
        )
    try:
        found = pathlib.Path(path).expanduser()
        os.lstat(found)
    except (ValueError, RuntimeError) as error:  # RuntimeError: ~NAME of somebody unknown
        raise _no_path(path, str(error)) from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            raise _no_path(path, error.strerror or "it is not valid") from None
    return found


def _no_path(path: str | os.PathLike, reason: str) -> InputError:
    text = os.fspath(path)
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return InputError(
        f"{ascii(shown)} is not a valid path: {reason.rstrip('.')}.",
        "Give the path of a file or folder.",
    )
