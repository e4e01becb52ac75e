"""A trained network that labels images."""

import dataclasses
import functools
import os
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from jaxseg.data import read_image
from jaxseg.inference.protocols import protocol
from jaxseg.ops.checks import as_pixels
from jaxseg.pretrained.trained import Trained
from jaxseg.utils.paths import given_path


@dataclasses.dataclass(frozen=True, repr=False)
class Network(Trained):
    """The result of `jaxseg.load`: `network.predict("street.jpg")` labels an image.

    Its attributes are those of `jaxseg.pretrained.trained.Trained`: `model`, `variables`, `info`,
    `eval` and `card`.
    """

    def __repr__(self) -> str:
        origin = self.origin
        step = f", step {origin['step']}" if "step" in origin else ""
        classes = self.info.num_classes
        return f"Network({origin['network']}, {classes} classes, from {origin['folder']}{step})"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the label values."""
        return self.info.class_names

    @property
    def origin(self) -> dict[str, Any]:
        """The part of the card that stands beside results: "network", "folder", of a run "step"."""
        names = {"network": "network", "path": "folder", "step": "step"}
        return {name: self.card[key] for key, name in names.items() if self.card[key] is not None}

    def predict(self, image: ArrayLike | str | os.PathLike) -> np.ndarray:
        """The class of each pixel, uint8 [H, W], as the run's evaluation sees the image.

        Args:
          image: uint8 [H, W, 3] RGB, or the path of an image file; its EXIF orientation is
            respected.

        Raises:
          InputError: the file holds no image, or the network cannot take one of its size.
        """
        if isinstance(image, str | os.PathLike):
            image = read_image(given_path(image))
        return self._inference.labels(self.variables, np.asarray(as_pixels(image)))

    @functools.cached_property
    def _inference(self):
        return protocol(self.model, self.eval)
