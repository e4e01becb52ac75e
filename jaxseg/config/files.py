"""Reads and writes a config as JSON, with one field per line."""

import json
import pathlib

import ml_collections

from jaxseg.config.defaults import default_config
from jaxseg.config.fields import flatten, set_field, validate
from jaxseg.errors import InputError
from jaxseg.utils.access import reason, remedy_for
from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.paths import given_path

PATHS = (
    *("data.root", "data.sbd_root", "data.boxes", "data.classes"),
    *("eval.boxes", "eval.ensemble", "init.pretrained"),
)
"""The fields that contain the path of a file or folder."""


def absolute_paths(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A copy of `config` with absolute paths, which means the same in every folder.

    A path that does not exist is kept unchanged, because it may be a URL or a name.
    """
    config = config.copy_and_resolve_references()
    flat = flatten(config)
    for name in PATHS:
        if isinstance(flat[name], str):
            set_field(config, name, absolute_path(flat[name]))
    return config


def absolute_path(text: str) -> str:
    """The absolute path of an existing file or folder; any other text unchanged.

    >>> absolute_path("gs://mine/data")
    'gs://mine/data'
    """
    try:
        path = given_path(text).absolute()
        return str(path) if path.exists() else text
    except (InputError, OSError):
        return text


def save_config(config: ml_collections.ConfigDict, path: str | pathlib.Path) -> None:
    """Writes `config` atomically as JSON, with one dotted field per line.

    Raises:
      InputError: the file cannot be written.
    """
    path = given_path(path) if isinstance(path, str) else path  # a Path may be in a bucket
    lines = (f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in flatten(config).items())
    try:
        write_atomic(path, "{\n" + ",\n".join(lines) + "\n}\n")
    except OSError as e:
        raise InputError(
            f"Cannot write {path}: {reason(e)}.", "Choose a folder that you can write to."
        ) from None


def load_config(path: str | pathlib.Path) -> ml_collections.ConfigDict:
    """Reads a file of `save_config`; missing fields have their defaults.

    Raises:
      InputError: the file is missing or is not valid JSON, or a field is unknown or out of range.
    """
    path = given_path(path) if isinstance(path, str) else path
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(
            f"Cannot read the config {path}: {reason(e)}.",
            remedy_for(e, "Give the workdir of a run."),
        ) from None
    except ValueError as e:
        raise InputError(f"{path} is not valid JSON: {e}.", "Restore the file.") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path} contains no config fields.", "Restore the file.")
    config = default_config()
    try:
        for name in sorted(fields, reverse=True):  # train.steps first: setting it resets the epochs
            set_field(config, name, fields[name])
        validate(config)
    except InputError as e:
        raise InputError(f"{path}: {e.problem}", e.remedy) from None
    return config
