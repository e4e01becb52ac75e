"""Reads lists of examples: text files with one name, or a photo and its mask, per line."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from jaxseg.data.band_files import no_band
from jaxseg.data.inside import BandFiles
from jaxseg.data.listing import (
    PHOTO_SUFFIXES,
    Listing,
    Pair,
    Problem,
    no_such_mask,
    read_lines,
    stems_in,
)
from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError

Places = Sequence[tuple[Path, Sequence[str]]]  # (folder, lower-case suffixes), in order


def listed(
    info: DataInfo,
    ids: Iterable[str],
    list_file: Path,
    photos: Places,
    masks: Places,
    values: Mapping[int, int] | None = None,
    ending: str = "",
    bands: Sequence[str] = (),
) -> Listing:
    """The files of a list; a line with missing files, or one that occurs twice, is a problem.

    A line is a name, with or without the photo's suffix, possibly in a subfolder; or a photo and
    its mask, separated by a space, a tab, a comma or a semicolon. Each may be an absolute path, or
    a path relative to the data set's folder or to the folder of photos or masks. The case of a
    suffix does not matter.

    Args:
      info: the classes.
      ids: the lines.
      list_file: the list, for messages.
      photos, masks: their folders, tried in this order.
      values: as in `read_mask`.
      ending: ending of the masks' names, before the suffix.
      bands: `config.data.band_suffixes`; a line is then a name without a band.
    """
    finder, problems, pairs = _Finder(photos[0][0].parent), [], []
    counts = Counter(ids)
    for line, count in counts.items():
        if count > 1:
            problems.append(
                Problem(
                    "listed twice",
                    str(list_file),
                    f"The list {list_file} contains '{line}' more than once.",
                    "List each id once.",
                )
            )
    for line in counts:
        photo, mask = (
            _bands(finder, line, photos, masks, ending, bands)
            if bands
            else _files(finder, line, photos, masks, ending)
        )
        if isinstance(photo, list):
            problems += photo
            continue
        if not isinstance(photo, str) and isinstance(mask, Path):
            bare = photo.place if isinstance(photo, BandFiles) else photo.with_suffix("")
            pairs.append(Pair(_name(bare, photos), photo, mask))
            continue
        for what, found, places in (("photo", photo, photos), ("mask", mask, masks)):
            if isinstance(found, str):
                problems.append(finder.missing(what, found, places, list_file, ending))
    return Listing(info, pairs, problems, values)


def _files(
    finder: "_Finder", line: str, photos: Places, masks: Places, ending: str
) -> tuple[Path | str, Path | str]:
    """Photo and mask of a line; for a missing file, its name without the suffix."""
    photo = finder.find(line, photos)
    if photo is not None:
        return photo, _mask(finder, _name(photo.with_suffix(""), photos), masks, ending)
    for left, right in _columns(line):
        first, second = finder.find(left, photos), finder.find(right, masks)
        if first is not None and second is not None:
            return first, second
    words = line.split()
    if len(words) == 2 and (found := finder.find(words[0], photos)) is not None:
        return found, words[1]
    bare = _bare(line)
    return line, finder.find(bare, masks, ending) or bare


def _bands(
    finder: "_Finder", line: str, photos: Places, masks: Places, ending: str, bands: Sequence[str]
) -> tuple[BandFiles | list[Problem] | str, Path | str]:
    """`_files` for an image with separate bands; problems if it lacks some."""
    bare = _bare(line)
    files = {band: finder.find(bare, photos, band) for band in bands}
    there = {band: file for band, file in files.items() if file is not None}
    if not there:
        return bare + bands[0], finder.find(bare, masks, ending) or bare
    band, first = next(iter(there.items()))
    place = first.with_name(first.stem.removesuffix(band))
    if len(there) < len(bands):
        return [no_band(place, band, first) for band in bands if band not in there], bare
    mask = _mask(finder, _name(place, photos), masks, ending)
    return BandFiles(place, tuple(there.values())), mask


def _mask(finder: "_Finder", name: str, masks: Places, ending: str) -> Path | str:
    """The mask of an example; its name if there is none."""
    found = finder.find(name, masks, ending) or finder.find(Path(name).name, masks, ending)
    return found or name


def _bare(line: str) -> str:
    return line[: -len(Path(line).suffix)] if _is_photo(line) else line


def _name(bare: Path, photos: Places) -> str:
    """The name of an example: the photo's path without suffix, relative to the photos' folder."""
    for folder, _ in photos:
        if bare.is_relative_to(folder):
            return bare.relative_to(folder).as_posix()
    return bare.name


def _is_photo(name: str) -> bool:
    return name.lower().endswith(PHOTO_SUFFIXES)


def _columns(line: str) -> Iterator[tuple[str, str]]:
    """The ways to split a line in two; names may contain spaces."""
    for at, letter in enumerate(line):
        if letter in "\t,; ":
            left, right = line[:at].strip(), line[at + 1 :].strip()
            if left and right:
                yield left, right


class _Finder:
    """Finds files by the names in lists; lists each folder once.

    Args:
      root: folder of the data set.
    """

    def __init__(self, root: Path):
        self._root = root
        self._names: dict[Path, dict[str, str]] = {}
        self._stems: dict[Path, dict[str, str]] = {}

    def find(self, name: str, places: Places, ending: str = "") -> Path | None:
        """The file for `name`, with `ending` and a suffix added, or with its own suffix."""
        for folder, suffixes in places:
            for suffix in suffixes:
                if (path := self._file(folder, name + ending + suffix)) is not None:
                    return path
        legal = tuple(suffix for _, suffixes in places for suffix in suffixes)
        if not name.lower().endswith(legal):
            return None
        folders = [folder for folder, _ in places]
        if os.path.isabs(name) and os.path.isfile(name):
            return Path(name)
        for folder in (*folders, self._root):  # in some lists, / is the data set's folder
            if (path := self._file(folder, name.lstrip("/"))) is not None:
                return path
        return self.find(name.replace("\\", "/"), places) if "\\" in name else None

    def missing(
        self, what: str, name: str, places: Places, list_file: Path, ending: str
    ) -> Problem:
        """The problem of a missing file in a list."""
        folder, suffixes = places[0]
        ends = name.lower().endswith(tuple(suffixes))
        bare = name if what == "photo" or ends else name + ending
        expected = folder / (bare if ends else bare + suffixes[0])
        problem = f"There is no {expected}, which {list_file} lists"
        at = (folder / bare).parent
        if at not in self._stems:
            self._stems[at] = stems_in(at)
        stems = self._stems[at]
        other = no_such_mask(at, stems.get(Path(bare).name)) if what == "mask" else None
        if other is not None:
            return Problem("no mask", str(expected), f"{problem}: {other[0]}.", other[1])
        return Problem(
            f"no {what}",
            str(expected),
            f"{problem}.",
            "Add the file, or remove the line from the list. A line is a name, or an image and a "
            "mask.",
        )

    def _file(self, folder: Path, name: str) -> Path | None:
        """`folder`/`name` if it is a file; the case of its suffix does not matter."""
        inside, _, last = name.rpartition("/")
        folder = folder / inside if inside else folder
        if folder not in self._names:
            entries = os.listdir(folder) if folder.is_dir() else []
            self._names[folder] = {_key(entry): entry for entry in sorted(entries, reverse=True)}
            self._names[folder] |= {entry: entry for entry in entries}
        names = self._names[folder]
        found = names.get(last) or names.get(_key(last))
        return folder / found if found else None


def _key(name: str) -> str:
    """The key of a file name: suffix in lower case, é as one character."""
    stem, dot, suffix = unicodedata.normalize("NFC", name).rpartition(".")
    return stem + dot + suffix.lower()


def read_ids(path: Path, remedy: str = "Write one id per line.") -> list[str]:
    """The non-empty lines of a list, in order.

    Raises:
      InputError: the list cannot be read, or is empty.
    """
    ids = [line for line in read_lines(path) if line]
    if not ids:
        raise InputError(f"The list {path} is empty.", remedy)
    return ids
