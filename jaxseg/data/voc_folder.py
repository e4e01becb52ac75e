"""A folder in the PASCAL VOC devkit layout: photos, palette masks, and lists of ids."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from jaxseg.data import labelmap
from jaxseg.data.band_files import paired_in
from jaxseg.data.class_lines import is_ignored, named_colours
from jaxseg.data.listing import (
    PHOTO_SUFFIXES,
    Listing,
    Pairs,
    checked_names,
    read_class_names,
    read_lines,
)
from jaxseg.data.lists import listed, read_ids
from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError, nearest
from jaxseg.utils.paths import given_path

VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
).split()
LAYOUT = (
    "The folder must contain JPEGImages/ID.jpg, SegmentationClass/ID.png (class indices) and "
    "ImageSets/Segmentation/SPLIT.txt (one ID per line)."
)
PHOTOS, MASKS, LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"


def voc_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """The first `count` colours of VOC: the bits of an index, distributed over three channels.

    >>> voc_palette(4)
    ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    """

    def channel(index: int, shift: int) -> int:
        return sum((index >> (3 * bit + shift) & 1) << (7 - bit) for bit in range(8))

    return tuple((channel(i, 0), channel(i, 1), channel(i, 2)) for i in range(count))


class VocFolder(Pairs):
    """The examples in one list of a folder with the VOC layout.

    `classes.txt` in the folder lists the classes, one per line (without it: VOC's 21).
    `palette.txt` gives their colours, `R G B name` per line (without it: VOC's colours). Opening
    the folder checks that every listed file exists; reading a file checks its contents.

    Args:
      root: the folder.
      split: name of the list, `ImageSets/Segmentation/{split}.txt`.
      name: name of the data set; by default that of the folder.

    Raises:
      InputError: part of the layout is missing or malformed; the message names the file and line.
    """

    def __init__(self, root: str | Path, split: str, name: str | None = None):
        root = given_path(root)
        super().__init__(voc_listing(root, split, name=name))


def voc_listing(
    root: Path,
    split: str | None,
    values: Mapping[int, int] | None = None,
    name: str | None = None,
    ending: str = "",
    bands: Sequence[str] = (),
) -> Listing:
    """Lists the files of one list of a folder in VOC layout.

    Args:
      root: the folder.
      split: name of the list; None: all photos and masks.
      values: as in `read_mask`.
      name: name of the data set; by default that of the folder.
      ending: ending of the masks' names, before the suffix.
      bands: `config.data.band_suffixes`.

    Raises:
      InputError: the layout is not VOC's, or a list or class file is malformed.
    """
    for part in ("", PHOTOS, MASKS, *([LISTS] if split is not None else [])):
        if not (root / part).is_dir():
            raise no_folder(root, part, LAYOUT)
    info = folder_info(root, name or root.resolve().name, VOC_CLASSES)
    if split is None:
        return paired_in(info, root / PHOTOS, root / MASKS, (".png",), values, ending, bands)
    path = list_file(root / LISTS, split, LAYOUT)
    return listed(
        info,
        read_ids(path),
        path,
        photos=[(root / PHOTOS, PHOTO_SUFFIXES)],
        masks=[(root / MASKS, (".png",))],
        values=values,
        ending=ending,
        bands=bands,
    )


def no_folder(root: Path, part: str, layout: str) -> InputError:
    """The error for a data set without the folder `part`; it lists the existing folders."""
    if part and (root.parent / part).is_dir():
        return InputError(
            f"There is no folder {root / part}, but there is {root.parent / part}.",
            f"Give {root.parent} as config.data.root. {layout}",
        )
    inside = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    seen = f" {root} contains {', '.join(inside[:6])}." if part and inside else ""
    return InputError(f"There is no folder {root / part}.{seen}", layout)


def list_file(folder: Path, split: str, layout: str, others: Iterable[str] = ()) -> Path:
    """The path `folder`/`split`.txt of an existing list.

    Raises:
      InputError: there is none; the message names the nearest existing list, or one of `others`.
    """
    path = folder / f"{split}.txt"
    if not path.is_file():
        lists = {p.stem for p in folder.glob("*.txt")} | set(others)
        raise InputError(f"There is no list {path}.", nearest(split, lists) if lists else layout)
    return path


def folder_info(
    root: Path,
    name: str,
    names: Sequence[str],
    colours: Callable[[int], tuple[tuple[int, int, int], ...]] = voc_palette,
) -> DataInfo:
    """The classes in `root`/classes.txt and palette.txt; by default `names` and `colours`.

    Without these files, a `labelmap.txt` gives both.

    Raises:
      InputError: a file is malformed; the message names the file and the line.
    """
    classes_file, palette_file = root / "classes.txt", root / "palette.txt"
    palette: tuple[tuple[int, int, int], ...] | None = None
    if not (classes_file.is_file() or palette_file.is_file()) and (root / labelmap.FILE).is_file():
        found = labelmap.read_labelmap(root / labelmap.FILE, voc_palette)
        return DataInfo(name, tuple(n for n, _ in found), tuple(colour for _, colour in found))
    if classes_file.is_file():
        names = read_class_names(classes_file)
        if (lines := named_colours(read_lines(classes_file))) is not None:
            palette = tuple(line.colour for line in lines if not is_ignored(line.name))
    if palette_file.is_file() and palette is None:
        rows = read_lines(palette_file)
        given = [_colour(palette_file, row, line) for row, line in enumerate(rows)]
        labels = [(line.split(maxsplit=3) + [""])[3] for line in rows]
        is_class = [n in names or not is_ignored(n) for n in labels]
        palette = tuple(c for c, is_one in zip(given, is_class, strict=True) if is_one)
        if not names:  # they follow the colours
            names = checked_names(
                palette_file, [n for n, is_one in zip(labels, is_class, strict=True) if is_one]
            )
        if len(palette) != len(names):
            where = (
                classes_file
                if classes_file.is_file()
                else "the standard VOC classes (no classes.txt)"
            )
            raise InputError(
                f"{palette_file} has {len(palette)} colours, but {where} has {len(names)} names.",
                "Write one line `R G B name` for each class.",
            )
    return DataInfo(name, tuple(names), colours(len(names)) if palette is None else palette)


def _colour(path: Path, row: int, line: str) -> tuple[int, int, int]:
    words = line.split()[:3]
    if len(words) != 3 or not all(w.isdecimal() and int(w) < 256 for w in words):
        raise InputError(
            f"Line {row + 1} of {path} is '{line}'.", "Write `R G B name`, each of R G B in 0..255."
        )
    return int(words[0]), int(words[1]), int(words[2])
