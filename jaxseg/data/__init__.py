"""Pictures in: data sets, augmentation, and batches in an order that the seed decides.

source = open_data(config.data, "train", config.seed)
for batch in train_batches(source, seed=0, batch_size=8, augment=Augment(crop=(64, 64))):
    ...
"""

from collections.abc import Callable
from pathlib import Path

import ml_collections

from jaxseg.data.augment import Augment, resize_image
from jaxseg.data.batches import batch_shapes
from jaxseg.data.decode import read_image, read_mask
from jaxseg.data.loader import eval_batches, train_batches
from jaxseg.data.position import check_position, position
from jaxseg.data.scenes import Scenes
from jaxseg.data.skipped import Skipped
from jaxseg.data.source import Cached, DataInfo, Example, Source
from jaxseg.data.voc_folder import LAYOUT, VocFolder
from jaxseg.errors import InputError, nearest

__all__ = [
    "Augment",
    "Cached",
    "DataInfo",
    "Example",
    "Scenes",
    "Skipped",
    "Source",
    "VocFolder",
    "batch_shapes",
    "check_position",
    "eval_batches",
    "open_data",
    "position",
    "read_image",
    "read_mask",
    "resize_image",
    "train_batches",
]


def open_data(config: ml_collections.ConfigDict, split: str, seed: int = 0) -> Source:
    """The data set that `config` (a run's `config.data`) describes.

    Args:
      config: names the data set and its two splits.
      split: "train" or "eval".
      seed: of generated training scenes. The evaluation scenes are the same for every seed, so
        that runs can be compared, and are never among the training scenes.

    Raises:
      InputError: the data set is unknown, missing or malformed.

    >>> from jaxseg.config import default_config
    >>> len(open_data(default_config().data, "eval"))
    64
    """
    if config.name not in _DATA_SETS:
        raise InputError(f"There is no data set '{config.name}'.", nearest(config.name, _DATA_SETS))
    if split not in ("train", "eval"):
        raise InputError(f"There is no split '{split}'.", "Choose 'train' or 'eval'.")
    source = _DATA_SETS[config.name](config, split, seed)
    return Cached(source) if config.cache else source


def _scenes(config, split: str, seed: int) -> Source:
    if split == "train":
        return Scenes(seed, config.scenes_train, config.scenes_size)
    return Scenes(0, config.scenes_eval, config.scenes_size, stream="eval")


def _voc_folder(config, split: str, seed: int) -> Source:
    if config.root is None:
        raise InputError(
            "config.data.root is not set.", f"Set it to the data set's folder. {LAYOUT}"
        )
    return VocFolder(config.root, config.train_split if split == "train" else config.eval_split)


def _voc2012(config, split: str, seed: int) -> Source:
    if config.root is None or not (Path(config.root).expanduser() / "JPEGImages").is_dir():
        where = (
            "config.data.root is not set"
            if config.root is None
            else f"{config.root} does not hold it"
        )
        raise InputError(
            f"PASCAL VOC 2012 is not here: {where}.",
            "Download VOCtrainval_11-May-2012.tar from "
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/, unpack it with "
            "`tar -xf VOCtrainval_11-May-2012.tar`, and pass "
            "--config.data.root=VOCdevkit/VOC2012 .",
        )
    return _voc_folder(config, split, seed)


_DATA_SETS: dict[str, Callable[[ml_collections.ConfigDict, str, int], Source]] = {
    "scenes": _scenes,
    "voc2012": _voc2012,
    "voc_folder": _voc_folder,
}
