"""Your own photos and masks: a folder `images`, a folder `masks`, and the class names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxseg.data.band_files import paired_in
from jaxseg.data.colours import distinct_colours
from jaxseg.data.folder_classes import folder_info
from jaxseg.data.listing import PHOTO_SUFFIXES, Listing
from jaxseg.data.lists import listed, read_ids
from jaxseg.data.voc_folder import no_folder
from jaxseg.errors import InputError, nearest

_MASK_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff")
LAYOUT = (
    "The folder must contain images/SPLIT/NAME.jpg, masks/SPLIT/NAME.png (class indices) and "
    "classes.txt (one name per line, or `name r g b` for coloured masks); or images/NAME.jpg, "
    "masks/NAME.png and a list SPLIT.txt (one NAME per line) for each split, or "
    "config.data.split='8:2' instead of lists. Folders inside images/ and masks/ must be alike."
)


def own_folder(
    root: Path,
    split: str | None,
    values: Mapping[int, int] | None = None,
    ending: str = "",
    bands: Sequence[str] = (),
    jpeg: bool = False,
) -> Listing:
    """The photos and masks of one split of a folder; see `LAYOUT`.

    Args:
      root: the folder. `classes.txt` names the classes; the optional `palette.txt` sets their
        colours (lines `R G B name`; default: `distinct_colours`).
      split: name of a list, or of a folder in `images` and in `masks`; None: all files
        below these folders.
      values: as in `read_mask`.
      ending: ending of the masks' names, before the extension.
      bands: `config.data.band_suffixes`.
      jpeg: whether masks may be JPEGs: coloured masks with a tolerance.

    Raises:
      InputError: part of the layout is missing, or a list or class file is malformed.
    """
    for part in ("", "images", "masks"):
        if not (root / part).is_dir():
            raise no_folder(root, part, LAYOUT)
    if not any((root / name).is_file() for name in ("classes.txt", "palette.txt")):
        raise InputError(f"There is no {root / 'classes.txt'}.", LAYOUT)
    info = folder_info(root, root.resolve().name, (), distinct_colours)
    suffixes = _MASK_SUFFIXES + ((".jpg", ".jpeg") if jpeg else ())
    images, masks, path = root / "images", root / "masks", root / f"{split}.txt"
    if split is None:
        return paired_in(info, images, masks, suffixes, values, ending, bands)
    if path.is_file():
        return listed(
            info,
            read_ids(path),
            path,
            photos=[(images, PHOTO_SUFFIXES)],
            masks=[(masks, suffixes)],
            values=values,
            ending=ending,
            bands=bands,
        )
    if not (images / split).is_dir():
        lists = {p.stem for p in root.glob("*.txt")} - {"classes", "palette"}
        known = lists | {p.name for p in images.iterdir() if p.is_dir()}
        raise InputError(
            f"There is no list {path} and no folder {images / split}.",
            f"{nearest(split, known)} Set it in config.data.train_split or eval_split. Or set "
            "config.data.split='8:2', which divides all images by their names."
            if known
            else LAYOUT,
        )
    return paired_in(info, images / split, masks / split, suffixes, values, ending, bands)
