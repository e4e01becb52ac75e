"""Archives of published data sets: fetched, verified, and unpacked without surprises."""

import shutil
import tarfile
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jaxseg.errors import InputError
from jaxseg.utils.download import digest, download


class Archive(NamedTuple):
    """A file that its makers publish."""

    url: str
    md5: str | None  # None: its makers and the field publish none
    makes: str  # a folder that is there once it is unpacked

    @property
    def file(self) -> str:
        """Its name."""
        return self.url.rpartition("/")[2]


def fetch(archive: Archive, folder: Path, progress: Callable[[str], None] = print) -> Path:
    """The verified file of `archive` in `folder`, downloaded unless it lies there.

    A download that was cut off goes on where it stopped.

    Raises:
      InputError: it cannot be downloaded or written, or its checksum is not the published one.
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
                f"Run this again to go on, or put the file into {folder} yourself.",
            ) from error
        _verify(archive, part)
        part.replace(path)
        return path
    progress(f"verifying {path}")
    _verify(archive, path)
    return path


def unpack(path: Path, folder: Path) -> None:
    """Unpacks a tar or zip file into `folder`: all of it, or nothing.

    Raises:
      InputError: it is damaged, holds a path that leaves `folder`, or the disk is full.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    _stays_inside(path, name)
                archive.extractall(unfinished)
        else:
            if not hasattr(tarfile, "data_filter"):
                raise InputError(
                    "This Python unpacks tar files without a check of their links.",
                    "Use 3.11.4 or newer.",
                )
            with tarfile.open(path) as archive:
                for member in archive:
                    _stays_inside(path, member.name)
                archive.extractall(unfinished, filter="data")
        _merge(unfinished, folder)
    except (tarfile.FilterError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"{path} cannot be unpacked ({error}).", "Replace it with the published archive."
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be unpacked into {folder} ({error.strerror or error}).",
            "Make room there, or choose another --data-dir.",
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _stays_inside(path: Path, name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or ":" in (parts[:1] or ("",))[0]:
        raise InputError(
            f"{path} holds the path '{name}', which leaves the folder that it is unpacked into.",
            "Do not trust this file: take the published archive.",
        )


def _merge(source: Path, target: Path) -> None:
    """Moves the files of `source` into `target`; folders that are in both are joined."""
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
            f"{path} has the MD5 sum {found}, the published one is {archive.md5}.",
            "Remove the file: it is damaged, or another one.",
        )
