"""Validation of paths from users."""

import contextlib
import errno
import os
import pathlib
import re

from jaxseg.errors import InputError
from jaxseg.utils.access import reason

_SHOWN = 60  # maximum number of characters of a path in a message


def given_path(path: str | os.PathLike) -> pathlib.Path:
    """Validates a path from a command line, a config or a caller.

    Every such path must pass through here before the system sees it. The system raises many kinds
    of errors for invalid paths, which differ between versions of Python.

    Args:
      path: path of a file or folder, which need not exist; `~` is the home folder.

    Raises:
      InputError: no file can have this path: it is too long, or contains a NUL byte or an unpaired
        surrogate; or it is a URL.

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
    except (ValueError, RuntimeError) as error:  # RuntimeError: ~NAME of an unknown user
        raise _no_path(path, str(error)) from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            raise _no_path(path, reason(error)) from None
    return found


def meant_path(path: pathlib.Path) -> pathlib.Path | None:
    """The existing path that a missing one may mean; None if there is none.

    It may have been copied with quotes or spaces around it, or from Windows, with backslashes.

    >>> print(meant_path(pathlib.Path("'/' ")))
    /
    """
    text = str(path).strip("'\" \u201c\u201d")
    for spelling in (text, text.replace("\\", "/")):
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            found = pathlib.Path(spelling).expanduser()
            if spelling and found != path and found.exists():
                return found
    return None


def _no_path(path: str | os.PathLike, reason: str) -> InputError:
    text = os.fspath(path)
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return InputError(
        f"{ascii(shown)} is not a valid path: {reason.rstrip('.')}.",
        "Give the path of a file or folder.",
    )
