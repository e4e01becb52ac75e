"""Converts a data set to records, which are fast to read, or to a plain folder."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import ml_collections

from jaxseg.data import prepared
from jaxseg.data.datasets.columns import Columns
from jaxseg.data.listing import Pairs
from jaxseg.data.plain_folder import write_folder
from jaxseg.data.published import PUBLISHED, unpacked, usual_splits
from jaxseg.data.records import write_records
from jaxseg.data.registry import IN_FOLDERS, PUBLISHED_NAMES, list_data, open_data
from jaxseg.errors import InputError, nearest
from jaxseg.utils.paths import given_path

FORMS = ("records", "folder")
_LIBRARIES = ("tfds", "hf")


def prepare_data(
    config: ml_collections.ConfigDict,
    data_dir: str | Path,
    splits: Sequence[str] = (),
    say: Callable[[str], None] = print,
    progress: Callable[[Iterable], Iterable] = lambda items: items,
    form: str = "records",
) -> Path:
    """Creates `data_dir`/NAME with the splits of a data set; keeps complete splits.

    Args:
      config: a run's `config.data`. With `root`, that folder is converted. Otherwise the archives
        are taken from `data_dir`/archives, or downloaded there, and unpacked in
        `data_dir`/unpacked. For "tfds" and "hf", the data is read from the folders of these
        libraries.
      data_dir: folder for all data sets.
      splits: names of the splits; empty: those of the papers, or the two of the config.
      say: receives a line for each step.
      progress: wraps the examples of a split while they are converted.
      form: "records", or "folder": images/SPLIT, masks/SPLIT as palette PNGs, and classes.txt.

    Returns:
      The folder for `config.data.root`. Records of a published data set are remembered, so that its
      name is sufficient.

    Raises:
      InputError: the data set has no archives and no root, or part of it is missing or bad.
    """
    data_dir, name = given_path(data_dir), config.name
    if name not in (*IN_FOLDERS, *_LIBRARIES):
        raise InputError(f"'{name}' cannot be prepared.", nearest(name, [*IN_FOLDERS, *_LIBRARIES]))
    if form not in FORMS:
        raise InputError(f"There is no form '{form}'.", nearest(form, FORMS))
    config = config.copy_and_resolve_references()
    if name in _LIBRARIES:
        return _of_library(config, data_dir, splits, say, progress, form)
    if config.root is None and name not in PUBLISHED:
        # without a root this raises, with a message on how to get the data set
        list_data(config, config.train_split)
    if config.root is None:
        config.root = str(unpacked(name, data_dir / "archives", data_dir / "unpacked", say))
    folder = data_dir / (name if form == "records" else f"{name}_folder")
    for split in splits or usual_splits(name) or (config.train_split, config.eval_split):
        _write(form, Pairs(list_data(config, split)), folder, split, say, progress)
    if name in PUBLISHED_NAMES and form == "records":
        prepared.remember(name, folder)
    return folder


def _of_library(config, data_dir: Path, splits, say, progress, form: str) -> Path:
    """`prepare_data` for a data set of a library."""
    whose = config.tfds_name if config.name == "tfds" else config.hf_name
    name = "".join(c if c.isalnum() else "_" for c in str(whose).rstrip("/").rpartition("/")[2])
    folder = data_dir / (name if form == "records" else f"{name}_folder")
    config.cache, config.crops = False, None
    for split in splits or (config.train_split, config.eval_split):
        config.train_split = split
        source = open_data(config, "train")
        assert isinstance(source, Columns)
        for note in getattr(source, "notes", ()):
            say(f"hint: {note}")
        _write(form, source, folder, split, say, progress)
    return folder


def _write(form: str, source: Pairs | Columns, folder: Path, split: str, say, progress) -> None:
    write = write_records if form == "records" else write_folder
    done = write(source, folder, split, progress)
    say(f"{split}: {len(source):,} examples {'written' if done else 'already written'}")
