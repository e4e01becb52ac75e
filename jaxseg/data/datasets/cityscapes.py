"""Cityscapes, fine and coarse: streets in 2048×1024 pixels, 19 classes (Cordts et al. 2016)."""

from pathlib import Path

from jaxseg.data.listing import Listing, files_by_stem, paired
from jaxseg.data.source import IGNORE, DataInfo
from jaxseg.errors import InputError, nearest

_TRAINED = {  # labelId to class and colour; the row number is the trainId
    7: ("road", (128, 64, 128)),
    8: ("sidewalk", (244, 35, 232)),
    11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)),
    13: ("fence", (190, 153, 153)),
    17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)),
    20: ("traffic sign", (220, 220, 0)),
    21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)),
    23: ("sky", (70, 130, 180)),
    24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)),
    26: ("car", (0, 0, 142)),
    27: ("truck", (0, 0, 70)),
    28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)),
    32: ("motorcycle", (0, 0, 230)),
    33: ("bicycle", (119, 11, 32)),
}
INFO = DataInfo(
    "cityscapes",
    tuple(name for name, _ in _TRAINED.values()),
    tuple(colour for _, colour in _TRAINED.values()),
    splits={"train": 2975, "val": 500, "test": 1525, "train_extra": 19998},
)
# 0..33 are the labelIds; 255 is the licence plate, whose id is -1
VALUES = dict.fromkeys((*range(34), 255), IGNORE) | {k: i for i, k in enumerate(_TRAINED)}
LAYOUT = (
    "Download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from "
    "https://www.cityscapes-dataset.com (after registering), unpack both into one folder, and "
    "pass it as --config.data.root ."
)


def cityscapes(root: Path, split: str) -> Listing:
    """The frames of `root`/leftImg8bit/`split`/CITY, with the labelIds of gtFine (or gtCoarse).

    Args:
      root: the folder that contains leftImg8bit and gtFine, as unpacked.
      split: "train", "val", "test" (without labels: all pixels are ignored), or "train_extra",
        which has coarse labels.

    Raises:
      InputError: there is no such folder or split.
    """
    labels = "gtCoarse" if split == "train_extra" else "gtFine"
    for part in ("leftImg8bit", labels):
        if not (root / part).is_dir():
            raise InputError(f"Cityscapes is not in {root}: the folder has no {part}.", LAYOUT)
    photos_in, masks_in = root / "leftImg8bit" / split, root / labels / split
    if not photos_in.is_dir():
        raise InputError(f"There is no split {photos_in}.", nearest(split, INFO.splits))
    photos: dict[str, list[Path]] = {}
    masks: dict[str, list[Path]] = {}
    for folder, files, ending in (
        (photos_in, photos, "_leftImg8bit"),
        (masks_in, masks, f"_{labels}_labelIds"),
    ):
        for city in sorted(p for p in folder.glob("*") if p.is_dir()):
            for name, paths in files_by_stem(city, (".png",), ending).items():
                files.setdefault(name, []).extend(paths)
    return paired(INFO, photos, masks, VALUES)
