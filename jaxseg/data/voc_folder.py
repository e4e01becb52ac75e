"""A folder in the PASCAL VOC devkit layout: photos, palette masks, and lists of ids."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jaxseg.data.band_files import paired_in
from jaxseg.data.colour_masks import colour_table
from jaxseg.data.colours import voc_palette
from jaxseg.data.folder_classes import folder_info
from jaxseg.data.listing import PHOTO_SUFFIXES, Listing, Pairs
from jaxseg.data.lists import listed, read_ids
from jaxseg.errors import InputError, nearest
from jaxseg.utils.paths import given_path

VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
).split()
LAYOUT = (
    "The folder must contain JPEGImages/ID.jpg, SegmentationClass/ID.png (class indices), "
    "ImageSets/Segmentation/SPLIT.txt (one ID per line) and, for classes other than VOC's, "
    "classes.txt (one name per line, or `name r g b` for coloured masks)."
)
PHOTOS, MASKS, LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"


class VocFolder(Pairs):
    """The examples in one list of a folder with the VOC layout.

    `classes.txt` in the folder lists the classes, one per line (without it: VOC's 21). For coloured
    masks, its lines are `name r g b`, or `palette.txt` has lines `R G B name`. Opening the folder
    checks that every listed file exists; reading a file checks its contents.

    Args:
      root: the folder.
      split: name of the list, `ImageSets/Segmentation/{split}.txt`.
      name: name of the data set; by default that of the folder.

    Raises:
      InputError: part of the layout is missing or malformed; the message names the file and line.
    """

    def __init__(self, root: str | Path, split: str, name: str | None = None):
        root = given_path(root)
        listing = voc_listing(root, split, name=name)
        colours, values = colour_table(root, listing.info.class_names)
        super().__init__(dataclasses.replace(listing, values=values, colours=colours))


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
    info = folder_info(root, name or root.resolve().name, VOC_CLASSES, voc_palette)
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
