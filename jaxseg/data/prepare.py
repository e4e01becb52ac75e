"""A published data set, from its archives to records that are read at once."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import ml_collections

from jaxseg.data.archives import Archive, fetch, unpack
from jaxseg.data.catalogue import IN_FOLDERS, list_data
from jaxseg.data.listing import Pairs
from jaxseg.data.records import write_records
from jaxseg.errors import InputError, nearest

_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_BERKELEY = "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping"
# name: archives, the folder in them that is the data set's root, and the splits of the papers
_PUBLISHED: dict[str, tuple[tuple[Archive, ...], str, tuple[str, ...]]] = {
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
                None,
                "ADEChallengeData2016",
            ),
        ),
        "ADEChallengeData2016",
        ("train", "val"),
    ),
}


def prepare_data(
    config: ml_collections.ConfigDict,
    data_dir: str | Path,
    splits: Sequence[str] = (),
    say: Callable[[str], None] = print,
    progress: Callable[[Iterable], Iterable] = lambda items: items,
) -> Path:
    """Makes `data_dir`/NAME: the splits of a data set as records; what is complete stays as it is.

    Args:
      config: a run's `config.data`. With `root`, that folder is converted; else the archives are
        taken from `data_dir`/archives, or downloaded there, and unpacked in `data_dir`/unpacked.
      data_dir: folder for all data sets.
      splits: which; none: those of the papers, or the two of the config.
      say: is given a line for each step.
      progress: is given the examples of a split as they are converted, and yields them.

    Returns:
      The folder to pass as `config.data.root`.

    Raises:
      InputError: the data set has no archives and no root, or something of it is missing or bad.
    """
    data_dir, name = Path(data_dir).expanduser(), config.name
    if name not in IN_FOLDERS:
        raise InputError(f"'{name}' cannot be prepared.", nearest(name, IN_FOLDERS))
    config = config.copy_and_resolve_references()
    archives, root, usual = _PUBLISHED.get(name, ((), "", ()))
    if config.root is None:
        if not archives:
            # without a root this raises, and says where the data set comes from
            list_data(config, config.train_split)
        unpacked = data_dir / "unpacked"
        for archive in archives:
            if not (unpacked / archive.makes).is_dir():
                path = fetch(archive, data_dir / "archives", say)
                say(f"unpacking {path}")
                unpack(path, unpacked)
        config.root = str(unpacked / root)
    folder = data_dir / name
    for split in splits or usual or dict.fromkeys((config.train_split, config.eval_split)):
        source = Pairs(list_data(config, split))
        if write_records(source, folder, split, progress):
            say(f"{split}: {len(source):,} examples written")
        else:
            say(f"{split}: {len(source):,} examples are there already")
    return folder
