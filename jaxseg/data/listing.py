"""Lists the files of a data set, and the problems that are visible without reading them."""

import os
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxseg.data.class_lines import is_ignored, misplaced_line, named_colours
from jaxseg.data.decode import read_frame, read_size
from jaxseg.data.image_file import read_regular
from jaxseg.data.images import image_bytes
from jaxseg.data.inside import BandFiles, DrawnMask, EmbeddedPhoto
from jaxseg.data.masks import Colours, decode_mask
from jaxseg.data.pairs import read_pair
from jaxseg.data.source import DataInfo, Example
from jaxseg.data.upright import Picture, aligned_mask
from jaxseg.errors import InputError, plain
from jaxseg.utils.access import reason, remedy_for
from jaxseg.utils.files import is_hidden, text_of, walk_files
from jaxseg.utils.image_kind import RGB, ImageKind

VOC_OBJECTS, SBD_OBJECTS = "SegmentationObject", "inst"  # folders of masks with object numbers
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".npy")


class Pair(NamedTuple):
    """The files of an example."""

    name: str
    photo: Path | EmbeddedPhoto | BandFiles
    mask: Path | DrawnMask


@dataclass(frozen=True)
class Problem:
    """A problem of a data set, which its owner can fix; text and remedy are made `plain`."""

    kind: str  # a keyword that similar problems share
    file: str  # the file or folder
    text: str  # one sentence: the problem
    remedy: str  # one sentence: the fix

    def __post_init__(self):
        object.__setattr__(self, "text", plain(self.text))
        object.__setattr__(self, "remedy", plain(self.remedy))


@dataclass(frozen=True)
class Listing:
    """The files of one split of a data set."""

    info: DataInfo
    pairs: Sequence[Pair]  # the complete examples
    problems: Sequence[Problem] = ()  # problems of the other examples
    values: Mapping[int, int] | None = field(default=None)  # see `read_mask`
    exif: str = "error"  # see `jaxseg.data.upright.aligned_mask`
    colours: Colours | None = None  # for coloured masks; None: they are rejected
    notes: Sequence[str] = ()  # short notes on automatic choices
    kind: ImageKind = RGB  # kind of the photos


class Pairs:
    """A data set of photo and mask files.

    Args:
      listing: its files.
      strict: whether to reject a listing with problems; otherwise those examples are left out.

    Raises:
      InputError: the first problem, and the number of similar ones.
    """

    def __init__(self, listing: Listing, strict: bool = True):
        if strict and listing.problems:
            first = listing.problems[0]
            others = sum(p.kind == first.kind for p in listing.problems) - 1
            more = f" (and {others} similar problem{'s' * (others > 1)})" if others else ""
            raise InputError(f"{first.text.removesuffix('.')}{more}.", first.remedy)
        if strict and not listing.pairs:
            raise InputError(
                f"Data set '{listing.info.name}' is empty.", "Give it at least one example."
            )
        self.info = listing.info
        self.pairs, self.values = tuple(listing.pairs), listing.values
        self.exif, self.colours = listing.exif, listing.colours
        self.notes, self.kind = tuple(listing.notes), listing.kind

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        name, photo, mask = self.pairs[index]
        count = self.info.num_classes
        how = self.values, self.exif, self.colours, self.kind
        image, label = read_pair(photo, mask, count, *how)
        return Example(image, label, name)

    def name(self, index: int) -> str:
        return self.pairs[index].name

    def size(self, index: int) -> tuple[int, int]:
        return read_size(self.pairs[index].photo)

    def photo_bytes(self, index: int) -> bytes:
        """The stored content of the photo's file; separate bands are combined in a `.npy` file."""
        return image_bytes(self.pairs[index].photo, self.kind)

    def photo_file(self, index: int) -> Hashable:
        """The file or files of an example's photo."""
        return self.pairs[index].photo

    def mask_file(self, index: int) -> Path | None:
        """The file of an example's mask; None for a drawn mask."""
        mask = self.pairs[index].mask
        return mask if isinstance(mask, Path) else None

    def objects(self, index: int) -> np.ndarray:
        """The object numbers in an example, unsigned [H, W]; 0: no object, 255: a border.

        They are in a file with the name of the mask, in the object folder of VOC or SBD next to the
        folder of masks.

        Raises:
          InputError: this file is missing, invalid, or differs in size from the photo.
        """
        path, photo = self.object_file(index), self.pairs[index].photo
        frame = read_frame(photo)
        stored = Picture(path.objects(), 1) if isinstance(path, DrawnMask) else decode_mask(path)
        numbers, size = aligned_mask(frame, stored, self.exif, photo, path), frame.size
        if numbers.shape != size:
            raise InputError(
                f"Instance mask {path} is {numbers.shape[1]} wide and {numbers.shape[0]} high, "
                f"but its image is {size[1]} wide and {size[0]} high.",
                "Make both the same size, or remove the id from the list.",
            )
        return numbers

    def object_file(self, index: int) -> Path | DrawnMask:
        """The file for `objects`."""
        mask = self.pairs[index].mask
        if isinstance(mask, DrawnMask):
            return mask
        folder = SBD_OBJECTS if mask.suffix == ".mat" else VOC_OBJECTS
        return mask.parent.parent / folder / mask.name


def files_by_stem(
    folder: Path, suffixes: Sequence[str], ending: str = "", nested: bool = False
) -> dict[str, list[Path]]:
    """The files in `folder` with one of `suffixes`, by name without `ending` and suffix.

    Args:
      folder: a folder; a missing one counts as empty. Hidden files, system files and the legend of
        predictions are left out.
      suffixes: such as (".png",), in lower case; the case of file names does not matter.
      ending: ending of every name, such as "_labelIds"; files without it are left out.
      nested: whether to include subfolders; names then include them, as in "street/0001".
    """
    found: dict[str, list[Path]] = {}
    for path in _files_in(folder, nested):
        if path.suffix.lower() in suffixes and path.stem.endswith(ending) and not _is_legend(path):
            name = _bare_name(path, folder).removesuffix(ending)
            found.setdefault(name, []).append(path)
    return found


def _is_legend(path: Path) -> bool:
    """Whether a file is the legend of predictions, which may serve as masks."""
    return path.name == "classes.png" and path.with_suffix(".json").is_file()


def _files_in(folder: Path, nested: bool) -> Iterable[Path]:
    if nested:
        return walk_files(folder)
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return (folder / name for name in names if not is_hidden(name))


def _bare_name(path: Path, folder: Path) -> str:
    """The path of a file relative to `folder`, without suffix."""
    name = path.relative_to(folder).with_suffix("").as_posix()
    # NFC: é may be one character or two; macOS stores two, other systems one
    return unicodedata.normalize("NFC", name)


def paired(
    info: DataInfo,
    photos: Mapping[str, Sequence[Path | BandFiles]],
    masks: Mapping[str, Sequence[Path]],
    values: Mapping[int, int] | None = None,
    mask_folder: Path | None = None,
    photo_folder: Path | None = None,
) -> Listing:
    """Pairs photos and masks by name, sorted; a file without its partner is a problem.

    Args:
      info: the classes.
      photos, masks: the files by name, from `files_by_stem`.
      values: as in `read_mask`.
      mask_folder, photo_folder: their folders, to report files in unsupported formats.
    """
    problems = []
    endings = _common_endings(photos, masks) if mask_folder is not None else []
    capitals = {
        "photo": {name.lower(): name for name in photos},
        "mask": {name.lower(): name for name in masks},
    }
    stems = {} if mask_folder is None else stems_in(mask_folder, nested=True)
    photo_stems = {} if photo_folder is None else stems_in(photo_folder, nested=True)
    for what, files, partner, others in (
        ("photo", photos, "mask", masks),
        ("mask", masks, "photo", photos),
    ):
        for name, paths in files.items():
            if len(paths) > 1:
                problems.append(
                    Problem(
                        "duplicate",
                        str(paths[1]),
                        f"{paths[1]} is a second {what} for '{name}', in addition to "
                        f"{Path(paths[0]).name}.",
                        "Keep one of them.",
                    )
                )
            if name not in others:
                text = f"{paths[0]} has no {partner}"
                remedy = f"Add a {partner} with the same name, or remove the {what}."
                if len(endings) == 1:
                    remedy = (
                        f"The names of the masks seem to end in '{endings[0]}'; set "
                        f"config.data.mask_suffix='{endings[0]}'."
                    )
                elif endings:
                    shown = ", ".join(f"'{ending}'" for ending in endings[:4])
                    remedy = (
                        f"Every photo has {len(endings)} masks, whose names end in {shown}"
                        f"{', ...' * (len(endings) > 4)}. Write one mask of class indices for each "
                        "photo; if only one of them is meant, set config.data.mask_suffix to its "
                        "ending."
                    )
                elif name.lower() in (alike := capitals[partner]):
                    text += f", but {others[alike[name.lower()]][0]} differs only in capitals"
                    remedy = "Give both the same name."
                elif what == "photo" and mask_folder is not None:
                    other = no_such_mask(mask_folder, stems.get(name), Path(paths[0]).name)
                    text, remedy = (f"{text}: {other[0]}", other[1]) if other else (text, remedy)
                elif what == "mask" and photo_folder is not None and name in photo_stems:
                    text += f": {photo_folder / photo_stems[name]} has a format that is not read"
                    remedy = "Convert it to PNG or JPEG."
                problems.append(Problem("unpaired", str(paths[0]), f"{text}.", remedy))
    both = [Pair(n, photos[n][0], masks[n][0]) for n in sorted(photos) if n in masks]
    return Listing(info, both, problems, values)


def _common_endings(photos: Iterable[str], masks: Iterable[str]) -> list[str]:
    """The endings of the masks' names after the photos' names that every photo has, if no names
    are equal.

    >>> _common_endings(["a", "b"], ["a_car", "a_sky", "b_car", "b_sky", "b_road"])
    ['_car', '_sky']
    """
    photos, masks = sorted(photos), sorted(masks)
    if set(photos) & set(masks) or not photos:
        return []
    endings = {m.removeprefix(photos[0]) for m in masks if m.startswith(photos[0])}
    return sorted(e for e in endings if set(masks) >= {photo + e for photo in photos})


def stems_in(folder: Path, nested: bool = False) -> dict[str, str]:
    """All files in `folder`, by name without suffix; `nested` as in `files_by_stem`."""
    files = (path for path in _files_in(folder, nested) if path.suffix)
    return {_bare_name(f, folder): f.relative_to(folder).as_posix() for f in files}


def no_such_mask(folder: Path, name: str | None, photo: str = "") -> tuple[str, str] | None:
    """Problem and fix for the file `name` in `folder` instead of a mask; None if it is None.

    Args:
      folder, name: the file.
      photo: the file of the photo.
    """
    if name is None:
        return None
    if name.lower().endswith((".jpg", ".jpeg")) and photo.lower().endswith(".png"):
        return (
            f"{folder / name} is a JPEG, which changes class indices, and {photo} is a PNG",
            "If the folders of images and masks are exchanged, rename them. Otherwise save the "
            "masks as 8-bit PNG from their source.",
        )
    return (
        f"{folder / name} has a format that is not suitable for class indices",
        "Save the masks as 8-bit PNG from their source; formats such as JPEG change the values.",
    )


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text, stripped, without empty ones at the start and end.

    Raises:
      InputError: the file cannot be read, or is not UTF-8 text.
    """
    try:
        text = text_of(read_regular(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({reason(error)}).", remedy_for(error, "Save it as UTF-8 text.")
        ) from error
    return [line.strip() for line in text.strip().splitlines()]


def read_class_names(path: Path) -> list[str]:
    """Reads the names in a `classes.txt`, one per line in the order of the label values.

    A name may be followed by a colour; among such lines, those named "ignore" are not classes.

    Raises:
      InputError: a line is empty, a comment, or has the wrong number, or a name occurs twice; the
        message names the line. Or there are fewer than two names.
    """
    names = read_lines(path)
    if (wrong := misplaced_line(names)) is not None:
        row, why, remedy = wrong
        raise InputError(f"Line {row + 1} of {path} {why}.", remedy)
    if (lines := named_colours(names)) is not None:
        names = [line.name for line in lines if not is_ignored(line.name)]
    return checked_names(path, names)


def checked_names(path: Path, names: list[str]) -> list[str]:
    """Checks the class names of a file: two or more, each once; returns them."""
    for row, name in enumerate(names):
        if not name or name in names[:row]:
            raise InputError(
                f"Line {row + 1} of {path} is " + (f"'{name}' again." if name else "empty."),
                "Write each name once, one per line, in the order of the label values.",
            )
    if len(names) < 2:
        raise InputError(
            f"{path} lists {'one class' if names else 'no class'}.",
            "List two or more classes, one per line; background is a class.",
        )
    return names
