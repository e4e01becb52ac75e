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
from jaxseg.errors import InputError
from jaxseg.inference.protocols import protocol
from jaxseg.ops.checks import one_image
from jaxseg.pretrained.folder import save_exported
from jaxseg.pretrained.trained import Trained, open_trained
from jaxseg.utils.paths import given_path

_CARRIED = ("data_set", "metrics", "licence")  # fields of the card that a saved folder keeps


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
        """The part of the card stored with results: "network", "folder", and "step" of a run."""
        names = {"network": "network", "path": "folder", "step": "step"}
        return {name: self.card[key] for key, name in names.items() if self.card[key] is not None}

    def predict(
        self, image: ArrayLike | str | os.PathLike | Sequence[str | os.PathLike]
    ) -> np.ndarray:
        """The class of each pixel, uint8 [H, W], by the protocol of the network's evaluation.

        Args:
          image: uint8 [H, W, 3] RGB (for other kinds of images, those of `model.kind`), or the path
            of an image file, whose EXIF orientation is respected. Or the paths of files with one
            band each, in the order of the channels.

        Raises:
          InputError: the file is not an image, or the network does not support its size.
        """
        if isinstance(image, str | os.PathLike):
            image = read_image(given_path(image), kind=self.model.kind)
        elif isinstance(image, Sequence) and image and isinstance(image[0], str | os.PathLike):
            files = tuple(given_path(file) for file in image)
            try:
                image = read_image(BandFiles(files[0], files), kind=self.model.kind)
            except InputError as error:
                if self.bands:
                    raise
                raise InputError(
                    error.problem,
                    "A list of paths is one image with one band per file. For several images, "
                    "call predict for each.",
                ) from None
        return self._inference.labels(self.variables, np.asarray(one_image(image)))

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike) -> "Network":
        """Opens a network by name or path, like `jaxseg.load(name_or_path)`."""
        return cls(**vars(open_trained(name_or_path)))

    def save_pretrained(self, folder: str | os.PathLike, dtype: str = "float32") -> None:
        """Writes the network's folder: `model.json` and `variables.safetensors`.

        `jaxseg.load(folder)` and `Network.from_pretrained(folder)` read it, also in later versions
        of jaxseg: `model.json` contains the version of its format.

        Args:
          folder: the output folder; it must be empty or not exist.
          dtype: dtype of the values: "float32", or "float16" or "bfloat16", rounded, with half the
            size.

        Raises:
          InputError: `folder` is not empty, or cannot be written.
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
