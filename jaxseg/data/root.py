"""The folder of a data set as the user gave it: an archive, a file or a misspelt path."""

import tarfile
import zipfile
from pathlib import Path

from jaxseg.errors import InputError
from jaxseg.utils.paths import meant_path

_PACKED = (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")


def check_root(root: Path) -> None:
    """Raises InputError if `root` is a file, or if another existing folder may be meant.

    Any other missing folder is left to the data set, which describes its layout.
    """
    if root.is_file():
        packed = root.suffix.lower() in _PACKED or _is_archive(root)
        raise InputError(
            f"{root} is {'an archive' if packed else 'a file'}, not a folder.",
            "Unpack it, and give the folder." if packed else "Give the folder of the data set.",
        )
    meant = None if root.exists() else meant_path(root)
    if meant is not None:
        raise InputError(f"There is no folder {root}.", f"Did you mean {meant}?")


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except OSError:
        return False
