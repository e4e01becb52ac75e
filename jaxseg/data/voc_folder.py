"""A folder in the PASCAL VOC devkit layout: photos, palette masks, and lists of ids."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jaxseg.data.decode import read_image, read_mask, read_size, size_mismatch
from jaxseg.data.source import DataInfo, Example
from jaxseg.errors import InputError, nearest

VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
).split()
LAYOUT = (
    "The folder must hold JPEGImages/ID.jpg, SegmentationClass/ID.png (class indices) and "
    "ImageSets/Segmentation/SPLIT.txt (one ID a line)."
)
_IMAGES, _MASKS, _LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")  # the first that exists is taken


def voc_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """The first `count` colours of VOC: the bits of an index, spread over three channels.

    >>> voc_palette(4)
    ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    """

    def channel(index: int, shift: int) -> int:
        return sum((index >> (3 * bit + shift) & 1) << (7 - bit) for bit in range(8))

    return tuple((channel(i, 0), channel(i, 1), channel(i, 2)) for i in range(count))


class VocFolder:
    """The examples of one list of a folder in VOC layout.

    `classes.txt` in the folder names the classes, one a line (without it: VOC's 21);
    `palette.txt` colours them, `R G B name` a line (without it: VOC's colours). Opening the folder
    checks that every listed file exists; what is inside a file is checked when it is read.

    Args:
      root: the folder.
      split: the list's name, `ImageSets/Segmentation/{split}.txt`.
      name: what to call the data set; the folder's name by default.

    Raises:
      InputError: something is missing or malformed; it names the file and the line.
    """

    def __init__(self, root: str | Path, split: str, name: str | None = None):
        self.root = Path(root).expanduser()
        for part in ("", _IMAGES, _MASKS, _LISTS):
            if not (self.root / part).is_dir():
                raise InputError(f"There is no folder {self.root / part}.", LAYOUT)
        self.info = _read_info(self.root, name or self.root.resolve().name)
        self._list = self.root / _LISTS / f"{split}.txt"
        self._ids = _read_ids(self._list)
        self._photos = _find(self.root / _IMAGES, self._ids, _PHOTO_SUFFIXES, self._list)
        self._masks = _find(self.root / _MASKS, self._ids, (".png",), self._list)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Example:
        photo, mask = (
            self.root / _IMAGES / self._photos[index],
            self.root / _MASKS / self._masks[index],
        )
        image, label = read_image(photo), read_mask(mask, self.info.num_classes)
        if image.shape[:2] != label.shape:
            raise size_mismatch(photo, image, mask, label)
        return Example(image, label, self._ids[index])

    def name(self, index: int) -> str:
        return self._ids[index]

    def size(self, index: int) -> tuple[int, int]:
        return read_size(self.root / _IMAGES / self._photos[index])


def _read_ids(path: Path) -> list[str]:
    if not path.is_file():
        lists = [p.stem for p in path.parent.glob("*.txt")]
        raise InputError(
            f"There is no list {path}.", nearest(path.stem, lists) if lists else LAYOUT
        )
    ids = [line for line in _lines(path) if line]
    if not ids:
        raise InputError(f"The list {path} is empty.", "Write one id a line.")
    twice = [i for i, count in Counter(ids).items() if count > 1]
    if twice:
        raise InputError(
            f"The list {path} holds '{twice[0]}' more than once{_others(twice)}.",
            "List every id once.",
        )
    return ids


def _find(folder: Path, ids: list[str], suffixes: Sequence[str], listed_in: Path) -> list[str]:
    """The file of each id in `folder`, relative to it."""
    present = set(os.listdir(folder))  # one look, not one for each id; an id may name a subfolder

    def file_of(name: str) -> str | None:
        candidates = (name + suffix for suffix in suffixes)
        return next(
            (c for c in candidates if c in present or ("/" in c and (folder / c).is_file())), None
        )

    files = {name: file_of(name) for name in ids}
    missing = [name for name, file in files.items() if file is None]
    if missing:
        raise InputError(
            f"There is no {folder / (missing[0] + suffixes[0])}, which {listed_in} lists"
            f"{_others(missing)}.",
            "Add the file, or take the line out of the list (a line is an id, with no suffix).",
        )
    return [file for file in files.values() if file is not None]


def _read_info(root: Path, name: str) -> DataInfo:
    classes_file, palette_file = root / "classes.txt", root / "palette.txt"
    names = list(VOC_CLASSES)
    if classes_file.is_file():
        names = _lines(classes_file)
        for row, class_name in enumerate(names):
            if not class_name or class_name in names[:row]:
                raise InputError(
                    f"Line {row + 1} of {classes_file} is "
                    + (f"'{class_name}' again." if class_name else "empty."),
                    "Write one name a line, in the order of the label values, each once.",
                )
    palette = voc_palette(len(names))
    if palette_file.is_file():
        palette = tuple(
            _colour(palette_file, row, line) for row, line in enumerate(_lines(palette_file))
        )
        if len(palette) != len(names):
            where = classes_file if classes_file.is_file() else "VOC's own classes (no classes.txt)"
            raise InputError(
                f"{palette_file} has {len(palette)} colours for the {len(names)} names of {where}.",
                "Write one line `R G B name` for each class.",
            )
    return DataInfo(name, tuple(names), palette)


def _colour(path: Path, row: int, line: str) -> tuple[int, int, int]:
    words = line.split()[:3]
    if len(words) != 3 or not all(w.isdecimal() and int(w) < 256 for w in words):
        raise InputError(
            f"Line {row + 1} of {path} is '{line}'.", "Write `R G B name`, each of R G B in 0..255."
        )
    return int(words[0]), int(words[1]), int(words[2])


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).", "Save it as UTF-8 text.") from error
    return [line.strip() for line in text.strip().splitlines()]


def _others(names: list[str]) -> str:
    return f" (and {len(names) - 1} more such)" if len(names) > 1 else ""
