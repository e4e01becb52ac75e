"""A trained network that labels images."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from jaxseg.data import read_image
from jaxseg.data.inside import BandFiles
from jaxseg.inference.protocols import protocol
from jaxseg.ops.checks import as_pixels
from jaxseg.pretrained.folder import save_exported
from jaxseg.pretrained.trained import Trained, open_trained
from jaxseg.utils.paths import given_path

_CARRIED = ("data_set", "metrics", "licence")  # of the card, into a saved folder


@dataclasses.dataclass(frozen=True, repr=False)
class Network(Trained):
    """The result of `jaxseg.load`: `network.predict("street.jpg")` labels an image.

    Its attributes are those of `jaxseg.pretrained.trained.Trained`: `model`, `variables`, `info`,
    `eval`, `card` and `bands`.
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

    def predict(
        self, image: ArrayLike | str | os.PathLike | Sequence[str | os.PathLike]
    ) -> np.ndarray:
        """The class of each pixel, uint8 [H, W], as the run's evaluation sees the image.

        Args:
          image: uint8 [H, W, 3] RGB (of a network for other images, those of its `model.kind`), or
            the path of an image file; its EXIF orientation is respected. Or the paths of files of
            one band each, in the order of the channels.

        Raises:
          InputError: the file holds no image, or the network cannot take one of its size.
        """
        if isinstance(image, str | os.PathLike):
            image = read_image(given_path(image), kind=self.model.kind)
        elif isinstance(image, Sequence) and image and isinstance(image[0], str | os.PathLike):
            files = tuple(given_path(file) for file in image)
            image = read_image(BandFiles(files[0], files), kind=self.model.kind)
        return self._inference.labels(self.variables, np.asarray(as_pixels(image)))

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike) -> "Network":
        """The network of that name or path: `jaxseg.load(name_or_path)`."""
        return cls(**vars(open_trained(name_or_path)))

    def save_pretrained(self, folder: str | os.PathLike, dtype: str = "float32") -> None:
        """Writes the network's folder: `model.json` and `variables.safetensors`.

        `jaxseg.load(folder)` and `Network.from_pretrained(folder)` read it, and later versions of
        jaxseg will: `model.json` has the number of its format.

        Args:
          folder: where to; it must not exist, or be empty.
          dtype: of the values: "float32"; or "float16" or "bfloat16", rounded, in half the room.

        Raises:
          InputError: there is something at `folder`, or it cannot be written.
        """
        card = self.card
        source = {"file": card["source"], **{k: card[k] for k in _CARRIED if card[k] is not None}}
        save_exported(
            folder,
            card["network"],
            self.model,
            self.variables,
            info=self.info,
            eval=self.eval,
            source=source,
            dtype=dtype,
            bands=self.bands,
        )

    @functools.cached_property
    def _inference(self):
        return protocol(self.model, self.eval)
