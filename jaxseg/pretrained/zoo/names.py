"""Resolves a name of weights: a path, a name of the zoo, or a repository of the Hub."""

import os
import pathlib

from jaxseg.errors import InputError
from jaxseg.pretrained.hub import SCHEME, fetch_repository
from jaxseg.pretrained.zoo.cache import converted_folder
from jaxseg.pretrained.zoo.converted import weights_of
from jaxseg.pretrained.zoo.rows import EMBEDDED, find
from jaxseg.utils.paths import given_path

GIVE = (
    "Give a weight file, a folder written by `python -m jaxseg convert`, or the workdir of a run."
)


def is_name(name_or_path: str | os.PathLike) -> bool:
    """Whether it is a name of the zoo or of the Hub, and not an existing path."""
    text = os.fspath(name_or_path)
    if text.startswith(SCHEME):
        return True
    return not os.path.lexists(given_path(name_or_path)) and find(text) is not None


def located(name_or_path: str | os.PathLike) -> pathlib.Path:
    """The path of weights: the given path, or the files of a zoo row or a Hub repository.

    An existing path takes precedence over a name. A path that does not exist is returned unchanged.

    Raises:
      InputError: it is empty or no text, or the files of a name cannot be downloaded.
    """
    if not isinstance(name_or_path, str | os.PathLike) or not os.fspath(name_or_path):
        what = "an empty name" if name_or_path == "" else f"a {type(name_or_path).__name__}"
        raise InputError(f"The name or path of a network was expected, not {what}.", GIVE)
    text = os.fspath(name_or_path)
    if text.startswith(SCHEME):
        return fetch_repository(text)
    path = given_path(name_or_path)
    row = None if os.path.lexists(path) else find(text)
    return path if row is None else weights_of(row)


def renewal(folder: pathlib.Path) -> str | None:
    """A sentence on how to renew a damaged network's folder that the user did not write."""
    if folder == EMBEDDED:
        return "Install jaxseg again."
    if folder.parent.name == "snapshots":  # of the Hub's cache, whose files are links
        folder = folder.parents[1]
    elif folder.parent != converted_folder():
        return None
    return f"Remove {folder}, and run the same command again to create it anew."
