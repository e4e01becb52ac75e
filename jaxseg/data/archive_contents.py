"""Unpacks tar and zip files: checks their contents in bounded memory, then writes them.

Python's own modules trust an archive. They stop at a damaged header in a tar file and do not report
the files after it, read a table of contents of any length into memory, and report damage by a dozen
kinds of errors.
"""

import bz2
import gzip
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from jaxseg.errors import InputError
from jaxseg.utils.bounded import Bounded

# Limits on the size of a table of contents: a tar's headers take 512 bytes or more per file, a
# zip's entries 50. The published data sets have about 45,000 files.
_MAX_TAR, _MAX_ZIP = 128 << 20, 16 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_COMPRESSED: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_BLOCK = 512  # bytes of a block in a tar file

# Errors of the modules for damaged archives. RuntimeError includes RecursionError and
# NotImplementedError; ValueError includes UnicodeError.
DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, struct.error, RuntimeError, ValueError, OverflowError, LookupError),
)


def unpack_zip(path: Path, folder: Path) -> None:
    """Writes all files of a zip file into `folder`.

    Raises:
      InputError: a path points outside `folder`, or the disk has too little space.
      ValueError and others of `DAMAGES`, OSError: the file is damaged.
    """
    with path.open("rb") as file:
        listed = Bounded(file, _MAX_ZIP)
        with zipfile.ZipFile(cast(IO[bytes], listed)) as archive:
            entries = archive.infolist()
            if _promised(file) not in (0xFFFF, len(entries) & 0xFFFF):
                raise ValueError("its table of contents is incomplete")
            if len({entry.filename for entry in entries}) < len(entries):
                raise ValueError("two of its files have the same name")
            for entry in entries:
                _stays_inside(path, entry.filename)
                if entry.flag_bits & 1:
                    raise ValueError(f"its file {entry.filename!r} is encrypted")
                if entry.compress_type not in _METHODS:
                    method = f"method {entry.compress_type}, which is unknown"
                    raise ValueError(f"its file {entry.filename!r} is compressed with {method}")
            _has_room(path, folder, (entry.file_size for entry in entries))
            listed.most = None
            for entry in entries:
                written = Path(archive.extract(entry, folder))
                if not entry.is_dir() and written.stat().st_size != entry.file_size:
                    raise ValueError(f"its file {entry.filename!r} does not have its declared size")


def unpack_tar(path: Path, folder: Path) -> None:
    """Writes all files of a tar file, compressed or not, into `folder`.

    Raises:
      InputError: a path points outside `folder`, or the disk has too little space.
      ValueError and others of `DAMAGES`, OSError: the file is damaged.
    """
    if not hasattr(tarfile, "data_filter"):
        raise InputError(
            "This Python version unpacks tar files without checking their links.",
            "Use Python 3.11.4 or newer.",
        )
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        known = (opened for magic, opened in _COMPRESSED.items() if start.startswith(magic))
        opened = next(known, None)
        listed = Bounded(opened(file) if opened else file, _MAX_TAR)
        with tarfile.open(fileobj=cast(IO[bytes], listed), mode="r:") as archive:
            members = archive.getmembers()
            for member in members:
                _stays_inside(path, member.name)
            _ends(listed, archive.offset)
            _has_room(path, folder, (member.size for member in members))
            listed.most = None
            archive.extractall(folder, filter="data")


def _promised(file: BinaryIO) -> int:
    """The number of files stated at the end of a zip file; 65,535: it is stated elsewhere."""
    file.seek(max(0, file.seek(0, 2) - (1 << 16) - 22))
    end = file.read()
    at = end.rfind(b"PK\5\6")
    return int(struct.unpack_from("<H", end, at + 10)[0])


def _ends(file: Bounded, at: int) -> None:
    """Raises ValueError if a tar file has files after the last one found: Python's reader treats a
    damaged header as the end. Reads to the end, so that a decoder verifies its checksum."""
    file.seek(at)
    block = file.read(_BLOCK)
    if block.strip(b"\0"):
        raise ValueError("the header of a file is damaged, so later files would be lost")
    try:
        while block:
            block = file.read(_BLOCK)
            if block[257:262] == b"ustar":
                raise ValueError("the header of a file is missing, so later files would be lost")
    except gzip.BadGzipFile as error:
        if not str(error).startswith("Not a gzipped file"):  # trailing data, as in gunzip
            raise


def _has_room(path: Path, folder: Path, sizes: Iterable[int]) -> None:
    needed, free = sum(sizes), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{path} needs {needed / 1e9:,.1f} GB when unpacked, but {folder.parent} has only "
            f"{free / 1e9:,.1f} GB free.",
            "Free some space there, or choose another --data-dir.",
        )


def _stays_inside(path: Path, name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or ":" in (parts[:1] or ("",))[0]:
        raise InputError(
            f"{path} contains the path '{name}', which points outside the target folder.",
            "Do not trust this file; use the published archive.",
        )
