"""Walks over folders that may contain hidden files, system files and links."""

import codecs
import os
import pathlib
from collections.abc import Callable, Iterator

from jaxseg.utils.access import check_readable

_SYSTEM = frozenset(
    (
        "__macosx",
        "thumbs.db",
        "desktop.ini",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    )
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder name is hidden or belongs to a system, and so is never data.

    >>> is_hidden("._a.jpg"), is_hidden("__MACOSX"), is_hidden("a.jpg")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in _SYSTEM


def is_workdir(folder: pathlib.Path) -> bool:
    """Whether `folder` is the workdir of a run, whose pictures are results and never data."""
    return all((folder / name).is_file() for name in ("config.json", "classes.json"))


def text_of(data: bytes) -> str:
    """Decodes UTF-8, or UTF-16 as written by Windows, without a byte order mark.

    Raises:
      UnicodeDecodeError: the data is neither.

    >>> text_of("ä".encode("utf-16")), text_of("ä".encode("utf-8-sig"))
    ('ä', 'ä')
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def walk_files(
    folder: pathlib.Path, skip: Callable[[pathlib.Path], bool] = lambda folder: False
) -> Iterator[pathlib.Path]:
    """All files below `folder` that are not hidden, sorted by folder and name.

    Workdirs of runs below `folder` are left out: their pictures are no data. Links to folders are
    followed. Each folder is entered once, even if several links lead to it, so
    that a link to a parent folder causes no endless loop.

    Args:
      folder: the root of the walk.
      skip: whether to leave out a folder below the root.

    Raises:
      InputError: a folder is closed to this user; its files would be missing without a word.
    """
    seen = set()
    for at, folders, files in os.walk(folder, onerror=_closed, followlinks=True):
        here = pathlib.Path(at)
        place = os.path.realpath(at)
        if place in seen or (here != folder and (is_workdir(here) or skip(here))):
            folders[:] = []
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (here / name for name in sorted(files) if not is_hidden(name))


def _closed(error: OSError) -> None:
    """Raises InputError if permission is missing; other folders are gone, or are no folders."""
    if isinstance(error, PermissionError):
        check_readable(error.filename, depth=0)
