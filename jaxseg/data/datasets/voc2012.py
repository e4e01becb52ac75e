"""PASCAL VOC 2012 segmentation, with the labels of SBD where VOC has none.

SBD (Hariharan et al. 2011) labels 11,355 photos of VOC 2011. The lists in papers combine the lists
of both sets: FCN trains on `sbd_train`; DeepLab, PSPNet and most others on `train_aug`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from jaxseg.data.colours import voc_palette
from jaxseg.data.listing import PHOTO_SUFFIXES, Listing
from jaxseg.data.lists import listed, read_ids
from jaxseg.data.source import DataInfo
from jaxseg.data.voc_folder import LISTS, MASKS, PHOTOS, VOC_CLASSES, list_file
from jaxseg.errors import InputError

INFO = DataInfo(
    "voc2012",
    tuple(VOC_CLASSES),
    voc_palette(21),
    splits={
        "train": 1464,
        "val": 1449,
        "trainval": 2913,
        "sbd_train": 8498,
        "sbd_val": 2857,
        "sbd": 11355,
        "train_aug": 10582,
        "seg11valid": 736,
    },
)
LAYOUT = (
    "Download VOCtrainval_11-May-2012.tar from "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/, unpack it with "
    "`tar -xf VOCtrainval_11-May-2012.tar`, and pass "
    "--config.data.root=VOCdevkit/VOC2012 ."
)
SBD_LAYOUT = (
    "Download benchmark.tgz of the Semantic Boundaries Dataset, unpack it, and pass "
    "--config.data.sbd_root=benchmark_RELEASE/dataset ."
)


def voc2012(root: Path, split: str, sbd_root: Path | None = None) -> Listing:
    """One list of VOC 2012.

    - A list in the folder, ImageSets/Segmentation/`split`.txt, takes precedence; its labels are
      VOC's, or SBD's for photos that VOC did not label.
    - sbd_train, sbd_val, sbd (both): SBD's lists and labels.
    - train_aug: VOC's train, then SBD's images outside VOC's train and val.
    - seg11valid: VOC 2011's val without SBD's train, the evaluation set of FCN. It needs the list
      of VOC 2011 (VOCdevkit/VOC2011/ImageSets/Segmentation/val.txt, next to the folder of 2012).

    Args:
      root: the folder VOCdevkit/VOC2012.
      split: the list.
      sbd_root: SBD's folder `dataset`; None: benchmark_RELEASE/dataset in `root` or in one of the
        two folders above it.

    Raises:
      InputError: a folder or list for the split is missing.
    """
    if not (root / PHOTOS).is_dir():
        raise InputError(f"PASCAL VOC 2012 is not in {root}.", LAYOUT)
    sbd = sbd_root or next(
        (d for up in (root, *list(root.resolve().parents)[:2])
         if (d := up / "benchmark_RELEASE" / "dataset").is_dir()),
        None,
    )  # fmt: skip

    def sbd_list(name: str) -> list[str]:
        if sbd is None or not (sbd / f"{name}.txt").is_file():
            raise InputError(
                f"Split '{split}' of VOC 2012 needs SBD, which is not in "
                f"{sbd or 'benchmark_RELEASE/dataset beside it'}.",
                SBD_LAYOUT,
            )
        return read_ids(sbd / f"{name}.txt")

    def voc_list(name: str) -> list[str]:
        return read_ids(list_file(root / LISTS, name, LAYOUT))

    def seg11valid() -> list[str]:
        path = root.resolve().parent / "VOC2011" / LISTS / "val.txt"
        if not path.is_file():
            raise InputError(
                f"Split 'seg11valid' needs the list of VOC 2011, but {path} does not exist.",
                "Unpack VOCtrainval_25-May-2011.tar beside VOC2012, or save the list of 736 ids as "
                f"{root / LISTS / 'seg11valid.txt'}.",
            )
        trained = set(sbd_list("train"))
        return [i for i in read_ids(path) if i not in trained]

    def train_aug() -> list[str]:
        first = voc_list("train")
        known = {*first, *voc_list("val")}
        return first + [i for i in sbd_list("train") + sbd_list("val") if i not in known]

    made: dict[str, Callable[[], list[str]]] = {
        "sbd_train": lambda: sbd_list("train"),
        "sbd_val": lambda: sbd_list("val"),
        "sbd": lambda: sbd_list("train") + sbd_list("val"),
        "train_aug": train_aug,
        "seg11valid": seg11valid,
    }
    own = root / LISTS / f"{split}.txt"
    if own.is_file() or split not in made:
        ids, path = voc_list(split), own
    else:
        ids, path = made[split](), own.with_name(f"{split} (made from the lists of VOC and SBD)")
    photos: list[tuple[Path, Sequence[str]]] = [(root / PHOTOS, PHOTO_SUFFIXES)]
    labels: list[tuple[Path, Sequence[str]]] = [(root / MASKS, (".png",))]
    if sbd is not None:
        photos.append((sbd / "img", (".jpg",)))
        # VOC's own labels are finer, but SBD's splits use SBD's labels throughout
        labels.insert(0 if split.startswith("sbd") else 1, (sbd / "cls", (".mat",)))
    return listed(INFO, ids, path, photos, labels)
