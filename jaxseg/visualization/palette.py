"""Labels in the colours of their classes."""

import numpy as np
from PIL import Image

from jaxseg.data.source import DataInfo

IGNORED = (235, 235, 235)  # the colour of pixels that are not labelled


def colorize(labels: np.ndarray, info: DataInfo) -> np.ndarray:
    """Label indices [H, W] as colours, uint8 [H, W, 3]; ignored pixels are pale."""
    return _colours(info)[labels]


def palette_image(labels: np.ndarray, info: DataInfo) -> Image.Image:
    """Labels uint8 [H, W] as an image of indices with a palette; ignored pixels are pale."""
    image = Image.fromarray(labels)
    image.putpalette(_colours(info).tobytes())
    return image


def _colours(info: DataInfo) -> np.ndarray:
    """A colour for each value that a label can have: uint8 [256, 3]."""
    table = np.full((256, 3), IGNORED, np.uint8)
    table[: info.num_classes] = info.palette
    return table
