"""The data sets with archives to download: their URLs, and the folders that they unpack to."""

from collections.abc import Callable
from pathlib import Path

from jaxseg.data.archives import Archive, fetch, unpack

_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_BERKELEY = "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping"
# name: archives, the data set's root folder in them, and the splits used in papers
PUBLISHED: dict[str, tuple[tuple[Archive, ...], str, tuple[str, ...]]] = {
    "voc2012": (
        (
            Archive(
                f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
                "6cd6e144f989b92b3379bac3b3de84fd",
                "VOCdevkit/VOC2012",
            ),
            Archive(
                f"{_BERKELEY}/semantic_contours/benchmark.tgz",
                "82b4d87ceb2ed10f6038a1cba92111cb",
                "benchmark_RELEASE",
            ),
        ),
        "VOCdevkit/VOC2012",
        ("train", "val", "train_aug", "sbd_train"),
    ),
    "ade20k": (
        (
            Archive(
                "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
                "7328b3957e407ddae1d3cbf487f149ef",
                "ADEChallengeData2016",
            ),
        ),
        "ADEChallengeData2016",
        ("train", "val"),
    ),
}


def unpacked(name: str, archives: Path, folder: Path, say: Callable[[str], None] = print) -> Path:
    """The root of a published data set in `folder`; unpacks its archives if necessary.

    Args:
      name: "voc2012" or "ade20k".
      archives: folder of the archives, which are downloaded there if missing.
      folder: folder to unpack them in.
      say: receives a line for each step.

    Raises:
      InputError: an archive cannot be downloaded, is not the published one, or cannot be unpacked.
    """
    needed, root, _ = PUBLISHED[name]
    for archive in needed:
        if not (folder / archive.makes).is_dir():
            path = fetch(archive, archives, say)
            say(f"unpacking {path}")
            unpack(path, folder)
    return folder / root


def usual_splits(name: str) -> tuple[str, ...]:
    """The splits that papers use for training and evaluation; () for a data set without archives.

    >>> usual_splits("ade20k")
    ('train', 'val')
    """
    return PUBLISHED[name][2] if name in PUBLISHED else ()
