"""Archives of published data sets: download, verification, and safe unpacking."""

import errno
import shutil
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxseg.data.archive_contents import DAMAGES, unpack_tar, unpack_zip
from jaxseg.errors import InputError
from jaxseg.utils.access import reason
from jaxseg.utils.download import digest, download

# System errors caused by names in an archive; None: errors without a number, from decoders.
_OF_THE_ARCHIVE = (
    *(None, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL),
    *(errno.ELOOP, errno.EILSEQ, errno.ENOTEMPTY),
)


class Archive(NamedTuple):
    """An archive published by the makers of a data set."""

    url: str
    md5: str | None  # None: no checksum is published
    makes: str  # a folder that exists once the archive is unpacked

    @property
    def file(self) -> str:
        """File name of the archive."""
        return self.url.rpartition("/")[2]


def fetch(archive: Archive, folder: Path, progress: Callable[[str], None] = print) -> Path:
    """Returns the verified file of `archive` in `folder`; downloads it if it is missing.

    An interrupted download is resumed.

    Raises:
      InputError: it cannot be downloaded or written, or its checksum differs from the published
        one.
    """
    path = folder / archive.file
    if not path.is_file():
        part = path.with_name(path.name + ".part")
        progress(f"downloading {archive.url}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            download(archive.url, part)
        except (OSError, urllib.error.URLError) as error:
            raise InputError(
                f"{archive.url} cannot be downloaded ({error}).",
                f"Run the command again to continue, or put the file into {folder} yourself.",
            ) from error
        _verify(archive, part)
        part.replace(path)
        return path
    progress(f"verifying {path}")
    _verify(archive, path)
    return path


def unpack(path: Path, folder: Path) -> None:
    """Unpacks a tar or zip file into `folder`, completely or not at all.

    The table of contents is checked before anything is written, in bounded memory.

    Raises:
      InputError: the file is damaged, encrypted, or has an unsupported compression; a path points
        outside `folder`; or the disk is full.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        unpack_all = unpack_zip if zipfile.is_zipfile(path) else unpack_tar
        unpack_all(path, unfinished)
        _merge(unfinished, folder)
    except InputError:
        raise
    except (*DAMAGES, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _OF_THE_ARCHIVE:
            raise InputError(
                f"{path} cannot be unpacked into {folder} ({reason(error)}).",
                "Free some space there, or choose another --data-dir.",
            ) from error
        raise InputError(
            f"{path} cannot be unpacked ({error}).", "Replace it with the published archive."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _merge(source: Path, target: Path) -> None:
    """Moves the files of `source` into `target`; merges folders that exist in both."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        other = target / path.name
        if path.is_dir() and other.is_dir():
            _merge(path, other)
        else:
            path.replace(other)


def _verify(archive: Archive, path: Path) -> None:
    if archive.md5 is None:
        return
    found = digest(path, "md5")
    if found != archive.md5:
        raise InputError(
            f"{path} has the MD5 sum {found}, but the published one is {archive.md5}.",
            "Remove the file; it is damaged or a different file.",
        )
