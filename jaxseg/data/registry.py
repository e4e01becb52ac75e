"""Opens data sets by name, from a run's `config.data`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import ml_collections

from jaxseg.data import prepared, splits
from jaxseg.data.colour_masks import colour_table
from jaxseg.data.colours import distinct_colours, voc_palette
from jaxseg.data.crops import Crops
from jaxseg.data.datasets import ade20k, camvid, cityscapes, own_folder, pascal_context, voc2012
from jaxseg.data.datasets.hf import HfSource
from jaxseg.data.datasets.tfds import KNOWN, Known, TfdsSource, without_ignored
from jaxseg.data.find_crops import find_crops
from jaxseg.data.formats import coco, cvat, labelme, labelstudio, supervisely, yolo
from jaxseg.data.formats.listing import annotated
from jaxseg.data.listing import Listing, Pairs, read_class_names
from jaxseg.data.masks import identity
from jaxseg.data.records import INDEX, Records
from jaxseg.data.root import check_root
from jaxseg.data.scenes import Scenes
from jaxseg.data.source import IGNORE, Cached, DataInfo, Source
from jaxseg.data.voc_folder import LAYOUT, voc_listing
from jaxseg.errors import InputError, nearest
from jaxseg.utils.image_kind import RGB, ImageKind
from jaxseg.utils.paths import given_path


def open_data(config: ml_collections.ConfigDict, split: str, seed: int = 0) -> Source:
    """Opens the data set of `config` (a run's `config.data`).

    Args:
      config: names the data set and its two splits.
      split: "train" or "eval".
      seed: seed of generated training scenes. The evaluation scenes are the same for every seed, so
        that runs can be compared; they never occur among the training scenes.

    Raises:
      InputError: the data set is unknown, missing or malformed.

    >>> from jaxseg.config import default_config
    >>> len(open_data(default_config().data, "eval"))
    64
    """
    if split not in ("train", "eval"):
        raise InputError(f"There is no split '{split}'.", "Choose 'train' or 'eval'.")
    name = config.train_split if split == "train" else config.eval_split
    given_path(f"{name}.txt")  # checks the name, which is that of a list or folder
    config = prepared.located(config, PUBLISHED_NAMES)
    source: Source
    kind = image_kind(config)
    if config.name == "scenes":
        if kind != RGB:
            raise InputError(
                f"config.data.channels is {kind.channels} and bits {kind.bits}, but generated "
                "scenes have 3 channels of 8 bits.",
                "Set them to 3 and 8, or use your own data set.",
            )
        if split == "train":
            source = Scenes(seed, config.scenes_train, config.scenes_size)
        else:
            source = Scenes(0, config.scenes_eval, config.scenes_size, stream="eval")
    elif config.name == "tfds":
        source = _tfds(config, name)
    elif config.name == "hf":
        source = _hf(config, name)
    elif is_prepared(config):
        source = _prepared(config, name)
    else:
        source = Pairs(list_data(config, name))
    if config.crops is not None and split == "train":
        source = _crops(config, source, seed)
    return Cached(source) if config.cache else source


def image_kind(config: ml_collections.ConfigDict) -> ImageKind:
    """The kind of images of `config` (a run's `config.data`).

    Raises:
      InputError: `config.band_suffixes` does not have one suffix per channel, or the data set does
        not support separate bands.
    """
    bands = config.band_suffixes
    if bands and config.name not in _BANDED:
        raise InputError(
            f"config.data.band_suffixes is {bands}, but of '{config.name}' an image is one file.",
            f"Leave it at (); it is for {', '.join(_BANDED)}.",
        )
    if bands and len(bands) != config.channels:
        raise InputError(
            f"config.data.band_suffixes names {len(bands)} bands, and config.data.channels is "
            f"{config.channels}.",
            f"Set config.data.channels={len(bands)}, or name a suffix for each channel.",
        )
    return ImageKind(config.channels, config.bits)


def is_prepared(config: ml_collections.ConfigDict) -> bool:
    """Whether `config.root` contains records of `prepare_data`."""
    return config.root is not None and (given_path(config.root) / INDEX).is_file()


def list_data(config: ml_collections.ConfigDict, split: str) -> Listing:
    """Lists the files of one split of a data set in a folder, by the name of the split.

    Args:
      config: a run's `config.data`.
      split: such as "train", "trainval".

    Raises:
      InputError: the data set is unknown or not in a folder, or its folder is missing or has
        another layout.
    """
    if config.name not in _FOLDERS:
        raise InputError(
            f"There is no data set '{config.name}'.",
            nearest(config.name, [*_FOLDERS, "scenes", "tfds", "hf"]),
        )
    given_path(f"{split}.txt")  # checks the name, which is that of a list or folder
    folder = _FOLDERS[config.name]
    if config.root is None:
        raise InputError(
            f"{folder.title} cannot be found, because config.data.root is not set.",
            folder.layout,
        )
    root = given_path(config.root)
    check_root(root)
    found = folder.files(config, root, split)
    return dataclasses.replace(found, exif=config.exif, kind=image_kind(config))


class _Folder(NamedTuple):
    title: str
    layout: str  # source of the data set, and layout of its folder
    files: Callable[[ml_collections.ConfigDict, Path, str], Listing]


def _voc2012(config, root: Path, split: str) -> Listing:
    sbd = given_path(config.sbd_root) if config.sbd_root else None
    return voc2012.voc2012(root, split, sbd)


def _own(files: Callable[..., Listing], **options):
    """A folder of the user: its masks have colours, or values as in `config.mask_values`."""

    def listing(config, root: Path, split: str) -> Listing:
        tolerance, is_split = config.colour_tolerance, not splits.is_set(config)
        more = {name: choose(config) for name, choose in options.items()}
        more |= {"ending": config.mask_suffix, "bands": config.band_suffixes}
        found = files(root, split if is_split else None, **more)
        if not is_split:
            chosen = splits.share_of(found.pairs, lambda pair: pair.name, config, split)
            found = dataclasses.replace(found, pairs=chosen)
        values = mask_values(config.mask_values, found.info, config.ignore_label)
        colours, values = colour_table(root, found.info.class_names, tolerance, values)
        return dataclasses.replace(found, values=values, colours=colours)

    return listing


def mask_values(
    kind: str, info: DataInfo, ignore_label: int | None = None
) -> dict[int, int] | None:
    """The mapping of the values stored in masks.

    Args:
      kind: `config.data.mask_values`.
      info: the classes.
      ignore_label: `config.data.ignore_label`.

    Returns:
      `values` for `read_mask`.

    Raises:
      InputError: the kind does not match the number of classes.

    >>> mask_values("binary", DataInfo("roads", ("other", "road"), ((0, 0, 0), (255, 0, 0))))
    {0: 0, 255: 1}
    """
    values = _mask_values(kind, info)
    if ignore_label is None:
        return values
    return (identity(info.num_classes) if values is None else values) | {ignore_label: IGNORE}


def _mask_values(kind: str, info: DataInfo) -> dict[int, int] | None:
    if kind == "binary":
        if info.num_classes != 2:
            raise InputError(
                f"config.data.mask_values is 'binary', but '{info.name}' has "
                f"{info.num_classes} classes.",
                "List two classes, or set it to 'indices'.",
            )
        return {0: 0, 255: 1}
    if kind == "zero_is_void":
        return {0: IGNORE, IGNORE: IGNORE} | {i + 1: i for i in range(info.num_classes)}
    return None


def _crops(config, source: Source, seed: int) -> Source:
    if not isinstance(source, Pairs | Scenes):
        raise InputError(
            f"config.data.crops is '{config.crops}', but '{config.name}' is not a folder of files.",
            "Set config.data.root to the unpacked folder.",
        )
    boxes = given_path(config.boxes) if config.boxes else None
    return Crops(source, find_crops(source, config.crops, boxes, seed))


def _prepared(config, split: str) -> Source:
    """Opens records of `prepare_data`."""
    source = Records(config.root, split, image_kind(config))
    own = config.name in _FOLDERS and config.name not in PUBLISHED_NAMES
    if own or source.info.name == config.name:
        return source
    raise InputError(
        f"{config.root} contains the prepared data set '{source.info.name}', not '{config.name}'.",
        "Change config.data.name or config.data.root.",
    )


def _tfds(config, split: str) -> Source:
    name = config.tfds_name
    if name is None:
        raise InputError(
            "config.data.tfds_name is not set.",
            f"Set it to a tensorflow-datasets name, such as {' or '.join(KNOWN)}.",
        )
    known = KNOWN.get(name.partition(":")[0].partition("/")[0])
    if config.classes is not None or known is None:
        if config.classes is None:
            raise InputError(
                f"The classes of '{name}' are unknown.",
                "Set config.data.classes to a text file with one name per line, and set "
                "config.data.image_key, mask_key and mask_values for the data set.",
            )
        names = read_class_names(given_path(config.classes))
        info = DataInfo(name, tuple(names), voc_palette(len(names)))
        values = mask_values(config.mask_values, info, config.ignore_label)
        known = Known(info, "image", "segmentation_mask", values)
    else:
        known = without_ignored(known, config.ignore_label)
    return TfdsSource(
        name,
        split,
        config.root,
        config.image_key or known.image_key,
        config.mask_key or known.mask_key,
        known.info,
        known.values,
        image_kind(config),
    )


def _hf(config, split: str) -> Source:
    if config.hf_name is None or config.classes is None:
        raise InputError(
            f"config.data.{'hf_name' if config.hf_name is None else 'classes'} is not set.",
            "Set hf_name to owner/name on the Hub or to a folder saved by `datasets`, and "
            "classes to a text file with one name per line.",
        )
    names = read_class_names(given_path(config.classes))
    info = DataInfo(config.hf_name, tuple(names), distinct_colours(len(names)))
    return HfSource(
        config.hf_name,
        split,
        config.root,
        config.hf_revision,
        config.image_key or "image",
        config.mask_key or "label",
        info,
        mask_values(config.mask_values, info, config.ignore_label),
        image_kind(config),
    )


def _published(files: Callable[..., Listing], **options):
    """A published data set, whose layout does not depend on the config."""
    return lambda config, root, split: files(root, split, **options)


def _context(background: bool) -> _Folder:
    files = _published(pascal_context.pascal_context, background=background)
    return _Folder("PASCAL-Context", pascal_context.LAYOUT, files)


_SET_IT = "Set it to the folder of the data set. "
_FOLDERS = {
    "voc_folder": _Folder("The data set", _SET_IT + LAYOUT, _own(voc_listing)),
    "folder": _Folder(
        "The data set",
        _SET_IT + own_folder.LAYOUT,
        _own(own_folder.own_folder, jpeg=lambda config: config.colour_tolerance > 0),
    ),
    "coco": _Folder("The data set", _SET_IT + coco.LAYOUT, annotated(coco.read)),
    "labelme": _Folder("The data set", _SET_IT + labelme.LAYOUT, annotated(labelme.read)),
    "cvat": _Folder("The data set", _SET_IT + cvat.LAYOUT, annotated(cvat.read)),
    "labelstudio": _Folder(
        "The data set", _SET_IT + labelstudio.LAYOUT, annotated(labelstudio.read)
    ),
    "supervisely": _Folder(
        "The data set", _SET_IT + supervisely.LAYOUT, annotated(supervisely.read)
    ),
    "yolo": _Folder("The data set", _SET_IT + yolo.LAYOUT, annotated(yolo.read)),
    "voc2012": _Folder("PASCAL VOC 2012", voc2012.LAYOUT, _voc2012),
    "ade20k": _Folder("ADE20K", ade20k.LAYOUT, _published(ade20k.ade20k)),
    "cityscapes": _Folder("Cityscapes", cityscapes.LAYOUT, _published(cityscapes.cityscapes)),
    "camvid": _Folder("CamVid", camvid.LAYOUT, _published(camvid.camvid)),
    "pascal_context59": _context(background=False),
    "pascal_context60": _context(background=True),
}
IN_FOLDERS = tuple(_FOLDERS)
"""The data sets that `list_data` supports."""
_OWN = ("folder", "voc_folder", "coco", "labelme", "cvat", "labelstudio", "supervisely", "yolo")
# data sets whose images may have bands in separate files; others treat every file as an image
_BANDED = ("folder", "voc_folder", "coco", "cvat", "labelstudio")
PUBLISHED_NAMES = tuple(name for name in _FOLDERS if name not in _OWN)
"""The published data sets, which are the same for everyone."""
