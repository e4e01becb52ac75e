"""Remembers the folders of prepared data sets, so that their names are sufficient."""

import json
import os
from collections.abc import Container
from pathlib import Path

import ml_collections

from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.json_files import read_object


def remember(name: str, folder: Path) -> None:
    """Records that the data set `name` is in `folder`; ignores a home that is not writable."""
    places = _places() | {name: str(folder.absolute())}
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(places, indent=1) + "\n")
    except OSError:
        pass  # the folder still works as config.data.root


def located(config: ml_collections.ConfigDict, names: Container[str]) -> ml_collections.ConfigDict:
    """`config` (a run's `config.data`); if it has no root, with the remembered folder.

    Args:
      config: its `name` and `root` are used.
      names: the data sets that are remembered.
    """
    if config.root is not None or config.name not in names:
        return config
    folder = _places().get(config.name)
    if folder is None or not Path(folder).is_dir():
        return config
    config = config.copy_and_resolve_references()
    config.root = folder
    return config


def _file() -> Path:
    """$XDG_CONFIG_HOME/jaxseg/data.json; by default below ~/.config."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "jaxseg" / "data.json"


def _places() -> dict[str, str]:
    try:
        places = read_object(_file())
    except (OSError, ValueError):  # the file is missing, or is not ours
        return {}
    return {name: place for name, place in places.items() if isinstance(place, str)}
