"""Files and folders that this user may not read or write, and disks that fail."""

import contextlib
import errno
import os
import pathlib

from jaxseg.errors import InputError

_REFUSED = (errno.EACCES, errno.EPERM)
_FAILING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN)
_READABLE = "Make it readable for this user."


def reason(error: Exception) -> str:
    """The reason of an error without its path and full stop, for a sentence that names the path.

    >>> reason(PermissionError(13, "Permission denied", "a.txt"))
    'Permission denied'
    """
    return getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(".")


def remedy_for(error: Exception, otherwise: str) -> str:
    """The fix for a file that cannot be read: permission if that is missing, else `otherwise`."""
    return _READABLE if isinstance(error, PermissionError) else otherwise


def check_readable(place: str | os.PathLike, depth: int = 9) -> None:
    """Raises InputError if a file, or a folder or anything below it, is closed to this user.

    Without this check, a closed folder looks empty and a closed file damaged. A missing place is
    no error.

    Args:
      place: the file or folder.
      depth: number of levels below `place` to check.
    """
    closed = _first_closed(pathlib.Path(place), depth)
    if closed is not None:
        raise InputError(f"No permission to read {closed}.", _READABLE)


def _first_closed(place: pathlib.Path, depth: int) -> pathlib.Path | None:
    if not os.path.lexists(place):
        return None
    if not os.path.isdir(place):
        return None if not os.path.exists(place) or _allows(place, os.R_OK) else place
    if not _allows(place, os.R_OK | os.X_OK):
        return place
    names = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # just removed
        names = sorted(os.listdir(place)) if depth else []
    below = (_first_closed(place / name, depth - 1) for name in names)
    return next((path for path in below if path is not None), None)


def _allows(place: pathlib.Path, mode: int) -> bool:
    return os.access(place, mode, effective_ids=os.access in os.supports_effective_ids)


def access_error(error: BaseException) -> InputError | None:
    """The InputError for a path that the system refuses; None for any other error."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str | bytes):
        return None
    path, why = os.fsdecode(error.filename), reason(error)
    if error.errno in _REFUSED:
        fix = "Give this user permission, or use another place."
    elif error.errno == errno.EROFS:
        fix = "Use a place that you can write to."
    elif error.errno == errno.ENAMETOOLONG:
        fix = "Use a shorter name."
    elif error.errno == errno.ELOOP:
        fix = "Remove the links that lead to themselves."
    elif error.errno in _FAILING:
        fix = "Check the disk or its network, and run the same command again."
    else:
        return None
    return InputError(f"{path} cannot be accessed: {why}.", fix)
