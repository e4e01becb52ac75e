"""Small data sets as labelling tools write them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from jaxseg.config import default_config
from jaxseg.data import open_data


def photo(path: Path, width: int = 20, height: int = 12, seed: int = 0) -> Path:
    """Writes a photo of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def put(path: Path, contents) -> Path:
    """Writes a text as it is, or any other value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(contents if isinstance(contents, str) else json.dumps(contents))
    return path


def data(name: str, root: Path, **fields):
    """A run's `config.data`; by default everything is the training split."""
    config = default_config().data
    config.name, config.root = name, str(root)
    config.update(fields)
    return config


def only(name: str, root: Path, **fields) -> np.ndarray:
    """The label of the one training image of a data set."""
    source = open_data(data(name, root, **({"split": "1:0"} | fields)), "train")
    assert len(source) == 1
    return source[0].label
