"""A fake network that labels an image by its red channel, without JAX."""

import threading

import numpy as np

from jaxseg.data import DataInfo
from jaxseg.errors import InputError
from jaxseg.serve.labeller import Labelled
from jaxseg.serve.networks import Served

CLASSES = DataInfo(
    "stub",
    ("background", "<b>road</b> & more", "sky", "never"),
    ((0, 0, 0), (128, 64, 128), (70, 130, 180), (255, 0, 0)),
)


def truth(image):
    """Class and probability of each pixel, the expected answers."""
    return image[..., 0] // 86, image[..., 1].astype(np.float32) / 255


class Stub:
    """`Labeller` for tests: `seen` has the sizes of each batch; it waits while `gate` is closed;
    `begun` is set once it has a batch."""

    def __init__(self):
        self.seen, self.gate, self.begun = [], threading.Event(), threading.Event()
        self.gate.set()
        self.error = None

    def bucket(self, size):
        if min(size) < 8:
            raise InputError(f"The image is {size[1]} wide.", "Give 8 pixels or more.")
        return size

    def takes_any_size(self):
        return True

    def __call__(self, images):
        self.begun.set()
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        self.seen.append([image.shape[:2] for image in images])
        return [Labelled(*truth(image)) for image in images]


def served(*names):
    """Returns a stub for each name."""
    return {name: Served(CLASSES, Stub(), {"model": "stub", "data": None}) for name in names}
