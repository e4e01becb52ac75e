"""Data sets of tensorflow-datasets, by the names of image and mask; without TensorFlow.

tensorflow-datasets is imported when a source is opened, which takes 0.2 s; TensorFlow is not
needed. The stored bytes of photos and masks are decoded like files, because tensorflow-datasets
itself would convert the indices of a palette mask to colours.
"""

import contextlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxseg.data.colours import voc_palette
from jaxseg.data.datasets import ade20k, camvid, cityscapes, voc2012
from jaxseg.data.datasets.columns import Columns
from jaxseg.data.decode import read_size
from jaxseg.data.masks import identity
from jaxseg.data.source import IGNORE, DataInfo
from jaxseg.errors import InputError
from jaxseg.utils.files import walk_files
from jaxseg.utils.image_kind import RGB, ImageKind


class Known(NamedTuple):
    """Properties of a data set that tensorflow-datasets does not provide."""

    info: DataInfo
    image_key: str
    mask_key: str
    values: Mapping[int, int] | None


KNOWN = {
    "oxford_iiit_pet": Known(
        DataInfo(
            "oxford_iiit_pet",
            ("pet", "background", "border"),
            voc_palette(4)[1:],
            splits={"train": 3680, "test": 3669},
        ),
        "image",
        "segmentation_mask",
        {1: 0, 2: 1, 3: 2},
    ),
    "cityscapes": Known(cityscapes.INFO, "image_left", "segmentation_label", cityscapes.VALUES),
    # built by datasets/tfds_builders.py
    "voc2012_segmentation": Known(voc2012.INFO, "image", "segmentation_mask", None),
    "ade20k_segmentation": Known(ade20k.INFO, "image", "segmentation_mask", None),
    "camvid_segmentation": Known(camvid.INFO, "image", "segmentation_mask", None),
}


def without_ignored(known: Known, ignore_label: int | None) -> Known:
    """`known` with the mask value `ignore_label` ignored; a class without any other value is
    removed.

    >>> without_ignored(KNOWN["oxford_iiit_pet"], 3).info.class_names
    ('pet', 'background')
    """
    if ignore_label is None:
        return known
    info = known.info
    values = identity(info.num_classes) if known.values is None else dict(known.values)
    values[ignore_label] = IGNORE
    kept = [i for i in range(info.num_classes) if i in values.values()]
    if len(kept) < 2:
        raise InputError(
            f"config.data.ignore_label is {ignore_label}, which leaves '{info.name}' with "
            f"{len(kept)} class.",
            "Give the value of another class, or None.",
        )
    numbers = {old: new for new, old in enumerate(kept)} | {IGNORE: IGNORE}
    names, colours = tuple(info.class_names[i] for i in kept), tuple(info.palette[i] for i in kept)
    fewer = DataInfo(info.name, names, colours, splits=info.splits)
    return known._replace(info=fewer, values={k: numbers[v] for k, v in values.items()})


class TfdsSource(Columns):
    """One split of a data set of tensorflow-datasets; downloads and prepares it if necessary.

    Args:
      name: as in `tfds.builder`: "oxford_iiit_pet", "cityscapes/semantic_segmentation:1.0.0".
      split: name in tensorflow-datasets; parts such as "train[:80%]" are supported.
      data_dir: folder of prepared data sets; None: tensorflow-datasets' default.
      image_key, mask_key: names of the features.
      info: the classes.
      values: as in `read_mask`.
      kind: kind of the photos.

    Raises:
      InputError: tensorflow-datasets is not installed, or there is no such data set, split or
        feature.
    """

    exif = "both"  # the data sets are made for TensorFlow, which ignores EXIF orientations
    remedy = "Remove the example, or prepare the data set again."

    def __init__(
        self,
        name: str,
        split: str,
        data_dir: str | None,
        image_key: str,
        mask_key: str,
        info: DataInfo,
        values: Mapping[int, int] | None = None,
        kind: ImageKind = RGB,
    ):
        keys = image_key, mask_key
        super().__init__(
            (name, split, data_dir, image_key, mask_key, info, values, kind),
            _open(name, split, data_dir, keys),
            name,
            split,
            keys,
            info,
            values,
            kind,
        )

    def content(self, record: Any, key: str, file: str) -> bytes:
        return record[key]

    def size(self, index: int) -> tuple[int, int]:
        return read_size(self.name(index), self._data[index][self._keys[0]])


def _open(name: str, split: str, data_dir: str | None, keys: tuple[str, str]) -> Any:
    """Opens the split's records, with the stored bytes of both features."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"Data set '{name}' needs tensorflow-datasets ({error}).",
            "Run pip install tensorflow-datasets.",
        ) from error
    import jaxseg.data.datasets.tfds_builders  # noqa: F401  tensorflow-datasets then knows them

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError, RuntimeError) as error:
        raise InputError(
            f"tensorflow-datasets has no '{name}' ({_first_line(error)}).",
            "Set config.data.tfds_name to a name from the tensorflow-datasets catalog.",
        ) from None
    images = {k for k, v in builder.info.features.items() if isinstance(v, tfds.features.Image)}
    for key in keys:
        if key not in images:
            raise InputError(
                f"'{name}' has no image feature '{key}'.",
                "Set config.data.image_key and mask_key; the image features are "
                f"{', '.join(sorted(images))}.",
            )
    if not builder.data_path.is_dir():
        _download(name, builder)
    try:
        builder.download_and_prepare(file_format="array_record")
        _check_split(name, split, builder)
        return builder.as_data_source(
            split=split, decoders={key: tfds.decode.SkipDecoding() for key in keys}
        )
    except InputError:
        raise
    except Exception as error:  # no network, no manual download, or other file format
        raise InputError(
            f"'{name}' cannot be read: {_first_line(error)}.",
            "Fix that cause. Data in a format other than array_record must be prepared again. "
            "Put files that you download by hand into the folder `downloads/manual`.",
        ) from error


def _check_split(name: str, split: str, builder: Any) -> None:
    """Raises InputError if the data set lacks a split, or examples of a part such as test[:500]."""
    splits = builder.info.splits
    try:
        splits[split]
    except (KeyError, ValueError) as error:
        there = " and ".join(f"'{s}' ({splits[s].num_examples} examples)" for s in splits)
        raise InputError(
            f"'{name}' has no split '{split}': {_first_line(error)}.",
            f"Set config.data.train_split or config.data.eval_split; there are {there}.",
        ) from None


def _download(name: str, builder: Any) -> None:
    """Creates a missing data set: downloads, verifies and converts it."""
    try:
        _check_network(builder)
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # no network, no manual download, or a full disk
        raise InputError(
            f"'{name}' is not in {builder.data_path} and cannot be downloaded: "
            f"{_first_line(error)}.",
            "Run the command once with a network connection, or copy that folder from another "
            "machine. config.data.root is the folder that contains NAME/VERSION. Put files that "
            "you download by hand into its subfolder `downloads/manual`.",
        ) from error


def _check_network(builder: Any) -> None:
    """Raises OSError if no server of the data set can be found: its own tries take minutes."""
    hosts = {urllib.parse.urlsplit(url).hostname for url in builder.url_infos or ()}
    roots = Path(builder.data_dir).parents[1:3]  # above NAME/VERSION or NAME/CONFIG/VERSION
    has_downloads = any(True for root in roots for _ in walk_files(root / "downloads"))
    if not hosts or urllib.request.getproxies() or has_downloads:
        return
    for host in hosts:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(host, None)
            return
    raise OSError(f"no network: the address of {sorted(map(str, hosts))[0]} is not known")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().partition("\n")[0].rstrip(".")
