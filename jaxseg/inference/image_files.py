"""Which photographs files, folders and patterns mean, and what each is to be called."""

import glob
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxseg.data.listing import PHOTO_SUFFIXES
from jaxseg.errors import InputError
from jaxseg.utils.paths import given_path

STDIN = "stdin"  # the name of a photograph from standard input


class Photograph(NamedTuple):
    """One photograph, that may turn out to be none.

    Attributes:
      name: of what is made of it, without suffix; a name may have a subfolder.
      path: its file, or what messages call it.
      data: what is in it, where that has no file.
    """

    name: str
    path: pathlib.Path
    data: bytes | None = None


def find_photographs(
    words: Iterable[str], out: pathlib.Path, reserved: Sequence[str] = ()
) -> list[Photograph]:
    """The photographs that `words` name, each once, in their order.

    A word is a file; a folder, of which all photographs count, subfolders included; or a pattern
    with `*`, `?`, `[...]` or `**`, which takes what it says. A photograph is called by its file's
    name without the suffix, below a folder (or the fixed part of a pattern) with the subfolders in
    front. A file that is missing is found out when it is read.

    Args:
      words: as above; such as `["street.jpg", "photos", "more/**/*.png"]`.
      out: the folder for what is made of them, which is not searched.
      reserved: names that no photograph may have.

    Raises:
      InputError: a folder or pattern without photographs, two photographs of one name, or results
        that would replace a photograph.
    """
    out = given_path(out).absolute()
    found: dict[pathlib.Path, Photograph] = {}
    for word in words:
        for root, path in _files(word, out):
            name = path.relative_to(root).with_suffix("").as_posix()
            found.setdefault(path.absolute(), Photograph(name, path))
    by_name: dict[str, Photograph] = {}
    for full, photograph in found.items():
        other = by_name.setdefault(photograph.name, photograph)
        if other is not photograph:
            raise InputError(
                f"{other.path} and {photograph.path} would both be called {other.name}.",
                "Rename one of them, or give each an --out of its own.",
            )
        if photograph.name in reserved:
            raise InputError(
                f"{photograph.path} has the name of a file that describes the results.",
                "Rename it.",
            )
        if full.parent == (out / photograph.name).parent:
            raise InputError(
                f"{photograph.path} lies where the results are to be.", "Give another --out."
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
