"""A published data set, from its archives to records that are read at once."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import ml_collections

from jaxseg.data import prepared
from jaxseg.data.listing import Pairs
from jaxseg.data.published import PUBLISHED, unpacked, usual_splits
from jaxseg.data.records import write_records
from jaxseg.data.registry import IN_FOLDERS, PUBLISHED_NAMES, list_data
from jaxseg.errors import InputError, nearest
from jaxseg.utils.paths import given_path


def prepare_data(
    config: ml_collections.ConfigDict,
    data_dir: str | Path,
    splits: Sequence[str] = (),
    say: Callable[[str], None] = print,
    progress: Callable[[Iterable], Iterable] = lambda items: items,
) -> Path:
    """Makes `data_dir`/NAME: the splits of a data set as records; complete ones stay as they are.

    Args:
      config: a run's `config.data`. With `root`, that folder is converted; else the archives are
        taken from `data_dir`/archives, or downloaded there, and unpacked in `data_dir`/unpacked.
      data_dir: folder for all data sets.
      splits: which; none: those of the papers, or the two of the config.
      say: is given a line for each step.
      progress: is given the examples of a split as they are converted, and yields them.

    Returns:
      The folder to pass as `config.data.root`; that of a published data set is remembered, so that
      its name alone finds it.

    Raises:
      InputError: the data set has no archives and no root, or something of it is missing or bad.
    """
    data_dir, name = given_path(data_dir), config.name
    if name not in IN_FOLDERS:
        raise InputError(f"'{name}' cannot be prepared.", nearest(name, IN_FOLDERS))
    config = config.copy_and_resolve_references()
    if config.root is None and name not in PUBLISHED:
        # without a root this raises, and says where the data set comes from
        list_data(config, config.train_split)
    if config.root is None:
        config.root = str(unpacked(name, data_dir / "archives", data_dir / "unpacked", say))
    folder = data_dir / name
    for split in splits or usual_splits(name) or (config.train_split, config.eval_split):
        source = Pairs(list_data(config, split))
        if write_records(source, folder, split, progress):
            say(f"{split}: {len(source):,} examples written")
        else:
            say(f"{split}: {len(source):,} examples are there already")
    if name in PUBLISHED_NAMES:
        prepared.remember(name, folder)
    return folder
