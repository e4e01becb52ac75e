"""Which image files a person means by files, folders and patterns, and the name of each."""

import glob
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxseg.data.listing import PHOTO_SUFFIXES
from jaxseg.errors import InputError
from jaxseg.utils.paths import given_path

STDIN = "stdin"  # the name of an image from standard input


class ImageFile(NamedTuple):
    """A file that should hold an image; it is not read yet.

    Attributes:
      name: of its results, without suffix; a name may have a subfolder.
      path: the file, or its name in messages.
      data: its bytes, where they come from elsewhere.
    """

    name: str
    path: pathlib.Path
    data: bytes | None = None


def find_images(
    words: Iterable[str], out: pathlib.Path, reserved: Sequence[str] = ()
) -> list[ImageFile]:
    """The image files that `words` name, each once, in their order.

    A word is a file; a folder, for all images in it and its subfolders; or a pattern with `*`, `?`,
    `[...]` or `**`. An image is named after its file, without the suffix; below a folder (or the
    fixed part of a pattern) with the subfolders in front. A missing file is an error when it is
    read.

    Args:
      words: as above; such as `["street.jpg", "photos", "more/**/*.png"]`.
      out: the folder for the results, which is not searched.
      reserved: names that no image may have.

    Raises:
      InputError: a folder or pattern without images, two images of one name, or results that would
        replace an image.
    """
    out = given_path(out).absolute()
    found: dict[pathlib.Path, ImageFile] = {}
    for word in words:
        for root, path in _files(word, out):
            name = path.relative_to(root).with_suffix("").as_posix()
            found.setdefault(path.absolute(), ImageFile(name, path))
    by_name: dict[str, ImageFile] = {}
    for full, file in found.items():
        other = by_name.setdefault(file.name, file)
        if other is not file:
            raise InputError(
                f"{other.path} and {file.path} would both be called {other.name}.",
                "Rename one of them, or give each an --out of its own.",
            )
        if file.name in reserved:
            raise InputError(
                f"{file.path} has the name of a file that describes the results.",
                "Rename it.",
            )
        if full.parent == (out / file.name).parent:
            raise InputError(
                f"{file.path} lies where the results are to be.", "Give another --out."
            )
    return list(found.values())


def _files(word: str, out: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """(folder that names begin below, file) of all that a word means."""
    path = given_path(word)
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in PHOTO_SUFFIXES and out not in file.absolute().parents
        ]
        if not files:
            raise InputError(
                f"The folder {path} holds no photograph.",
                f"Give one with files that end in {', '.join(PHOTO_SUFFIXES)}.",
            )
        return [(path, file) for file in files]
    if not glob.has_magic(word) or path.exists():
        return [(path.parent, path)]
    matches = map(pathlib.Path, sorted(glob.glob(str(path), recursive=True)))
    files = [m for m in matches if m.is_file() and out not in m.absolute().parents]
    if not files:
        raise InputError(f"Nothing matches {word}.", "Correct the pattern.")
    parts = path.parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return [(pathlib.Path(*parts[:fixed]), file) for file in files]
