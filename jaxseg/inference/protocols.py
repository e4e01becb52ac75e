"""How a trained network is asked for an image's classes: the protocol that `config.eval` names."""

from typing import Any, Protocol

import flax.linen as nn
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxseg.data import resize_image
from jaxseg.inference.whole_image import label_images, likely_images


class Inference(Protocol):
    """A network with a protocol; `variables` are its parameters and statistics.

    Both methods take a photograph, uint8 [H, W, 3], and optionally the (height, width) of the
    result, which is the photograph's own where it is None.
    """

    def labels(
        self, variables: Any, image: np.ndarray, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """The class of each pixel: uint8 [height, width]."""
        ...

    def probabilities(
        self, variables: Any, image: np.ndarray, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """The probability of each class at each pixel: float32 [height, width, C]."""
        ...


def protocol(model: nn.Module, config: ml_collections.ConfigDict) -> Inference:
    """The network with the protocol that a run's `config.eval` describes.

    Args:
      model: the network.
      config: the group `eval` of a run's config.

    >>> import jax, jaxseg
    >>> from jaxseg.config import default_config
    >>> model = jaxseg.create_model("fcn8s_vgg16", num_classes=3, width=0.05, padding=1)
    >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros([1, 40, 60, 3]))
    >>> inference = protocol(model, default_config().eval)
    >>> inference.labels(variables, np.zeros([40, 60, 3], np.uint8)).shape
    (40, 60)
    """
    return WholeImage(model, config.input_size)


class WholeImage:
    """The network once, on the whole image (FCN, section 5).

    Args:
      model: the network.
      input_size: (height, width) the image is resized to first; None: as it is.
    """

    def __init__(self, model: nn.Module, input_size: tuple[int, int] | None = None):
        self._model, self._input_size = model, input_size

    def labels(
        self, variables: Any, image: np.ndarray, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        inputs = jnp.asarray(resize_image(image, self._input_size))[None]
        return np.asarray(label_images(self._model, variables, inputs, size or image.shape[:2]))[0]

    def probabilities(
        self, variables: Any, image: np.ndarray, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        inputs = jnp.asarray(resize_image(image, self._input_size))[None]
        return np.asarray(likely_images(self._model, variables, inputs, size or image.shape[:2]))[0]
