"""PASCAL-Context: VOC 2010 with every pixel labelled (Mottaghi et al. 2014).

The 59 classes of the papers are the frequent ones of 459. FCN adds all others as a background class
(60 classes); other papers ignore them.
"""

from pathlib import Path

from jaxseg.data.colours import voc_palette
from jaxseg.data.listing import PHOTO_SUFFIXES, Listing, read_lines
from jaxseg.data.lists import listed, read_ids
from jaxseg.data.source import IGNORE, DataInfo
from jaxseg.data.voc_folder import PHOTOS, list_file
from jaxseg.errors import InputError

CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow table dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor bag bed bench book building cabinet ceiling cloth "
    "computer cup door fence floor flower food grass ground keyboard light mountain mouse curtain "
    "platform sign plate road rock shelves sidewalk sky snow bedclothes track tree truck wall "
    "water window wood"
).split()
_ALIASES = {"table": "diningtable", "bedclothes": "bedcloth", "cloth": "clothes"}  # old names
LAYOUT = (
    "Unpack VOCtrainval_03-May-2010.tar. Unpack trainval.tar.gz from the PASCAL-Context page "
    "into VOCdevkit/VOC2010, with its labels.txt. Pass --config.data.root=VOCdevkit/VOC2010 ."
)


def pascal_context(root: Path, split: str, background: bool) -> Listing:
    """One list of VOC 2010, with the labels of `root`/trainval/ID.mat.

    Args:
      root: the folder VOCdevkit/VOC2010; its `labels.txt` (or that in trainval) maps the 459 values
        to classes.
      split: a list of ImageSets/Main: "train" or "val".
      background: whether the other classes are class 0; otherwise they are ignored.

    Raises:
      InputError: a folder or list is missing, or labels.txt lacks a class.
    """
    for part in (PHOTOS, "trainval"):
        if not (root / part).is_dir():
            raise InputError(f"PASCAL-Context is not in {root}: the folder has no {part}.", LAYOUT)
    names = _read_labels(root)
    first = int(background)
    values = dict.fromkeys(range(460), 0 if background else IGNORE)
    for index, name in enumerate(CLASSES):
        if (alias := _ALIASES.get(name, name)) not in names and name not in names:
            raise InputError(f"labels.txt in {root} does not contain '{alias}'.", LAYOUT)
        values[names.get(alias, names.get(name, 0))] = index + first
    info = DataInfo(
        f"pascal_context{59 + first}",
        ("background",) * first + tuple(CLASSES),
        voc_palette(60)[1 - first :],
        splits={"train": 4998, "val": 5105},
    )
    path = list_file(root / "ImageSets" / "Main", split, LAYOUT)
    return listed(
        info,
        read_ids(path),
        path,
        photos=[(root / PHOTOS, PHOTO_SUFFIXES)],
        masks=[(root / "trainval", (".mat",))],
        values=values,
    )


def _read_labels(root: Path) -> dict[str, int]:
    """The value of each name, parsed from lines such as `431: tree`."""
    path = root / "labels.txt"
    if not path.is_file():
        path = root / "trainval" / "labels.txt"
    values = {}
    for row, line in enumerate(read_lines(path)):
        number, colon, name = line.partition(":")
        if not (colon and number.strip().isdecimal() and 0 < int(number) < 460):
            raise InputError(
                f"Line {row + 1} of {path} is '{line}'.", "Use the labels.txt of PASCAL-Context."
            )
        values[name.strip()] = int(number)
    return values
