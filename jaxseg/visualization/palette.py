"""Draws labels in the colours of their classes."""

import numpy as np
from PIL import Image

from jaxseg.data.shown import shown
from jaxseg.data.source import DataInfo

IGNORED = (235, 235, 235)  # the colour of ignored pixels
_BACKGROUND = ("background", "back", "bg", "other", "others", "none", "unlabelled", "unlabeled")


def colorize(labels: np.ndarray, info: DataInfo) -> np.ndarray:
    """Label indices [H, W] as colours, uint8 [H, W, 3]; ignored pixels are light grey."""
    return _colours(info)[labels]


def palette_image(labels: np.ndarray, info: DataInfo) -> Image.Image:
    """Labels uint8 [H, W] as an indexed image with a palette; ignored pixels are light grey."""
    image = Image.fromarray(labels)
    image.putpalette(_colours(info).tobytes())
    return image


def has_background(info: DataInfo) -> bool:
    """Whether class 0 is the background, judged by its name.

    >>> has_background(DataInfo("pets", ("Background", "cat"), ((0, 0, 0), (255, 0, 0))))
    True
    """
    return info.class_names[0].strip().lower() in _BACKGROUND


def overlay(image: np.ndarray, labels: np.ndarray, info: DataInfo) -> np.ndarray:
    """Blends an image half and half with the colours of its labels, except the background.

    Args:
      image: uint8 [H, W, 3], or another image for `shown`.
      labels: uint8 [H, W].
      info: the classes.
    """
    image = shown(image)
    mixed = (image.astype(np.uint16) + colorize(labels, info)) // 2
    kept = (labels == 0) & has_background(info)
    return np.where(kept[..., None], image, mixed).astype(np.uint8)


def _colours(info: DataInfo) -> np.ndarray:
    """A colour for each possible value of a label: uint8 [256, 3]."""
    table = np.full((256, 3), IGNORED, np.uint8)
    table[: info.num_classes] = info.palette
    return table
