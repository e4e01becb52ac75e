"""Photos by the names that annotations have for them."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from jaxseg.data.listing import Problem


class Photos:
    """Finds photos in some folders.

    Args:
      folders: tried in this order, but the one that had the last photo comes first.
    """

    def __init__(self, folders: Iterable[Path]):
        self._folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]

    def find(self, name: str) -> Path | None:
        """The photo `name`: a path from one of the folders, or its last part alone."""
        name = name.replace("\\", "/")
        for part in dict.fromkeys((name, PurePosixPath(name).name)):
            for folder in self._folders:
                path = folder / part
                if part and path.is_file():
                    self._folders.remove(folder)
                    self._folders.insert(0, folder)
                    return path
        return None

    def missing(self, name: str, file: Path) -> Problem:
        """The problem that `file` has annotations of a photo that is not there."""
        places = ", ".join(str(folder) for folder in sorted(self._folders)[:4])
        return Problem(
            "no photo",
            name,
            f"{file} annotates the image {name}, which does not exist; searched in {places}.",
            "Add the image, or remove it from the annotations.",
        )


def split_folders(root: Path, split: str) -> list[Path]:
    """Where tools put the photos of a split, in or beside a folder of annotations."""
    return [
        *(root / "images" / split, root / split / "images", root / split, root / f"{split}2017"),
        *(root / "images" / f"{split}2017", root / "images", root),
    ]
