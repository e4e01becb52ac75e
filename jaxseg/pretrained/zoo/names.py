"""What a person names a network by: a path, a name of the zoo, or a repository of the Hub."""

import os
import pathlib

from jaxseg.pretrained.hub import SCHEME, fetch_repository
from jaxseg.pretrained.zoo.converted import weights_of
from jaxseg.pretrained.zoo.rows import find
from jaxseg.utils.paths import given_path


def is_name(name_or_path: str | os.PathLike) -> bool:
    """Whether it is a name of the zoo or of the Hub, and no path of something."""
    text = os.fspath(name_or_path)
    if text.startswith(SCHEME):
        return True
    return not os.path.lexists(given_path(name_or_path)) and find(text) is not None


def located(name_or_path: str | os.PathLike) -> pathlib.Path:
    """The path of weights: as given, of the zoo's row of that name, or of a Hub repository's files.

    What lies at a path wins over a name. A path where nothing lies is given back as it is.

    Raises:
      InputError: the file of that name cannot be had.
    """
    text = os.fspath(name_or_path)
    if text.startswith(SCHEME):
        return fetch_repository(text)
    path = given_path(name_or_path)
    row = None if os.path.lexists(path) else find(text)
    return path if row is None else weights_of(row)
