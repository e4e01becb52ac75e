"""The file of a registry row: from the cache, a mirror, or its URL; verified before use."""

import os
import pathlib
import sys
import urllib.error

from jaxseg.errors import InputError
from jaxseg.pretrained.zoo.cache import (
    MIRROR,
    OFFLINE,
    files_folder,
    is_offline,
    locked,
    not_writable,
)
from jaxseg.pretrained.zoo.rows import Row
from jaxseg.utils.download import bar, by_proxy, digest, download


def cached_file(row: Row) -> pathlib.Path | None:
    """The file of a row if it is in the cache; it is not verified here."""
    path = files_folder() / row.file
    return path if path.is_file() else None


def fetch(row: Row) -> pathlib.Path:
    """Returns the verified file of a row; downloads it if it is not in the cache.

    If several processes need the file, one downloads it and the others wait.

    Raises:
      InputError: the file is not in the cache and cannot be downloaded, the cache cannot be
        written, or the checksum differs from the published one; the file is then renamed.
    """
    folder = files_folder()
    path = folder / row.file
    if _verified(path, row):
        return path
    with locked(folder, row.file):
        if _verified(path, row):
            return path
        new = path  # copied by hand, or changed
        if not path.is_file():
            new = folder / f"{row.file}.part"
            _download(row, new)
        _check(new, path, row)
        _say_licence(row)
    return path


def address(row: Row) -> str:
    """The download URL: that of the mirror, or the row's own."""
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{row.file}" if mirror else str(row.url)


def bring(row: Row) -> str:
    """A sentence on how to get the file without network access."""
    return f"Download {row.url} elsewhere, and copy it to {files_folder() / row.file}."


def unreadable(row: Row, error: InputError) -> InputError:
    """The error for a damaged file without a published checksum; renames the file.

    Otherwise each further command would find the same file.
    """
    path = files_folder() / row.file
    aside = _put_aside(path, path)
    return InputError(f"{error.problem} It is kept as {aside}.", _again(row, path))


def _download(row: Row, part: pathlib.Path) -> None:
    url = address(row)
    if is_offline():
        raise InputError(
            f"{row.name} needs the file {row.file}, which is not in the cache, but {OFFLINE} is "
            "set.",
            bring(row),
        )
    try:
        with bar(row.file) as progress:
            download(url, part, progress)
    except urllib.error.HTTPError as error:
        raise InputError(
            f"{url} returned {error.code} ({error.reason}), so {row.file} of {row.name} is "
            "missing.",
            bring(row),
        ) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{row.name} needs the file {row.file}, but {url} cannot be "
            f"reached{by_proxy(url)}: {reason}.",
            bring(row),
        ) from None
    except OSError as error:
        if error.errno is None:  # reported by the server
            raise InputError(
                f"{url} cannot be downloaded: {error}.",
                f"Run the command again to continue. {bring(row)}",
            ) from None
        raise not_writable(part.parent, error) from None
    except ValueError as error:  # an invalid URL
        raise InputError(
            f"{url} is not a valid URL: {error}.", f"Set {MIRROR} to a URL, or unset it."
        ) from None


def _verified(path: pathlib.Path, row: Row) -> bool:
    """Whether the file was verified earlier, and has not changed since."""
    try:
        return path.is_file() and _mark(path).read_text(encoding="utf-8") == _stamp(path, row)
    except (OSError, ValueError):
        return False


def _check(file: pathlib.Path, path: pathlib.Path, row: Row) -> None:
    """Moves a file with the right checksum to `path`; renames any other file.

    Raises:
      InputError: the checksum differs.
    """
    kind, _, start = (row.checksum or "").partition(":")
    found = digest(file, kind) if kind else ""
    try:
        if not found.startswith(start):
            aside = _put_aside(file, path)
            raise InputError(
                f"The {kind.upper()} of {path.name} is {found[:16]}..., but the published one "
                f"begins with {start}: the file is damaged or a different one. It is kept as "
                f"{aside}.",
                _again(row, path),
            )
        file.replace(path)
        _mark(path).write_text(_stamp(path, row), encoding="utf-8")
    except OSError as error:
        raise not_writable(path.parent, error) from None


def _put_aside(file: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    aside = path.with_name(f"{path.name}.wrong")
    file.replace(aside)
    _mark(path).unlink(missing_ok=True)
    return aside


def _again(row: Row, path: pathlib.Path) -> str:
    return f"Run the command again, or download {row.url} elsewhere and copy it to {path}."


def _mark(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.verified")


def _stamp(path: pathlib.Path, row: Row) -> str:
    """Identifies a verified file without reading it; half a gigabyte would take a second."""
    about = path.stat()
    return f"{row.checksum} {about.st_size} {about.st_mtime_ns}"


def _say_licence(row: Row) -> None:
    """Prints a restricted licence, once the file is there."""
    if not row.permissive:
        print(f"licence of {row.name}: {row.licence or 'unknown'}", file=sys.stderr)
