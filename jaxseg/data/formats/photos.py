"""Finds photos by the names in annotations."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from jaxseg.data.listing import Problem


class Photos:
    """Finds photos in some folders.

    Args:
      folders: tried in this order; the folder of the last photo is tried first.
    """

    def __init__(self, folders: Iterable[Path]):
        self._names: dict[Path, tuple[Counter[str], list[str]]] = {}
        self._folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]

    def find(self, name: str) -> Path | None:
        """The photo `name`: a path relative to one of the folders, or only its last part."""
        name = name.replace("\\", "/")
        for part in dict.fromkeys((name, PurePosixPath(name).name)):
            for folder in self._folders:
                path = folder / part
                if part and path.is_file():
                    self._folders.remove(folder)
                    self._folders.insert(0, folder)
                    return path
        return next(filter(None, (self._alike(f / name) for f in self._folders)), None)

    def _alike(self, path: Path) -> Path | None:
        """The only file whose name equals that of `path` apart from upper and lower case."""
        if path.parent not in self._names:
            files = os.listdir(path.parent) if path.parent.is_dir() else []
            self._names[path.parent] = Counter(name.lower() for name in files), files
        counts, files = self._names[path.parent]
        if counts[path.name.lower()] != 1:
            return None
        found = next(path.parent / n for n in files if n.lower() == path.name.lower())
        return found if found.is_file() else None

    def missing(self, name: str, file: Path) -> Problem:
        """The problem of annotations in `file` for a photo that does not exist."""
        places = ", ".join(str(folder) for folder in sorted(self._folders)[:4])
        return Problem(
            "no photo",
            name,
            f"{file} annotates the image {name}, which does not exist; searched in {places}.",
            "Add the image, or remove it from the annotations.",
        )


def split_folders(root: Path, split: str) -> list[Path]:
    """The folders where tools store the photos of a split, in or next to its annotations."""
    return [
        *(root / "images" / split, root / split / "images", root / split, root / f"{split}2017"),
        *(root / "images" / f"{split}2017", root / "images", root),
    ]
