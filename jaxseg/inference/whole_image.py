"""Applies a network to one whole image."""

import functools
import os
from collections.abc import Mapping
from typing import Any, Literal, overload

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.data.images import read_image
from jaxseg.errors import InputError
from jaxseg.inference.padding import Layout, Size, padded_logits
from jaxseg.metrics import predict_labels
from jaxseg.ops.byte_labels import byte_labels
from jaxseg.ops.checks import one_image
from jaxseg.utils.image_kind import RGB
from jaxseg.utils.paths import given_path


@overload
def predict(
    model: nn.Module,
    variables: Mapping[str, Any],
    image: np.ndarray | jax.Array | str | os.PathLike,
    *,
    probabilities: Literal[False] = False,
) -> np.ndarray: ...


@overload
def predict(
    model: nn.Module,
    variables: Mapping[str, Any],
    image: np.ndarray | jax.Array | str | os.PathLike,
    *,
    probabilities: Literal[True],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def predict(
    model: nn.Module,
    variables: Mapping[str, Any],
    image: np.ndarray | jax.Array | str | os.PathLike,
    *,
    probabilities: bool,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...


def predict(
    model: nn.Module,
    variables: Mapping[str, Any],
    image: np.ndarray | jax.Array | str | os.PathLike,
    *,
    probabilities: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Labels every pixel of an image.

    Args:
      model: the network.
      variables: its parameters and statistics.
      image: uint8 [H, W, 3] RGB (for other kinds of images, those of `model.kind`), or the path of
        an image file, whose EXIF orientation is respected.
      probabilities: whether to return the probability of each class too.

    Returns:
      The class of each pixel, uint8 [H, W]. With `probabilities`, a pair of this and float32
      [H, W, C]. The first image of each size is slower, because the network is compiled for it.

    Raises:
      InputError: the file or the array is not an image, or is too small for the network.

    >>> import jaxseg
    >>> model = jaxseg.create_model("fcn8s_vgg16", num_classes=3, width=0.05, padding=1)
    >>> image = np.zeros([40, 60, 3], np.uint8)
    >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros([1, 40, 60, 3]))
    >>> predict(model, variables, image).shape
    (40, 60)
    """
    if isinstance(image, str | os.PathLike):
        image = read_image(given_path(image), kind=getattr(model, "kind", RGB))
    image = one_image(image)
    if variables and "params" not in variables:  # Flax would name a layer
        raise InputError(
            f"The variables have no 'params': their keys are {sorted(variables)[:4]}.",
            "Give the dict that model.init returns, not the parameters alone.",
        )
    if probabilities:
        likely = np.asarray(
            image_probabilities(model, variables, jnp.asarray(image)[None], image.shape[:2])
        )[0]
        return byte_labels(likely), likely
    return np.asarray(image_labels(model, variables, jnp.asarray(image)[None], image.shape[:2]))[0]


@functools.partial(jax.jit, static_argnums=(0, 3))
def image_labels(
    model: nn.Module, variables, images: jax.Array, size: Size, layout: Layout | None = None
) -> jax.Array:
    """The labels of uint8 images [N, H, W, 3] at another size: uint8 [N, *size]."""
    return predict_labels(*padded_logits(model, variables, images, size, layout))


@functools.partial(jax.jit, static_argnums=(0, 3))
def image_probabilities(
    model: nn.Module, variables, images: jax.Array, size: Size, layout: Layout | None = None
) -> jax.Array:
    """Their class probabilities: float32 [N, *size, C]."""
    logits, upsampling = padded_logits(model, variables, images, size, layout)
    return jax.nn.softmax(upsampling(logits))


@functools.partial(jax.jit, static_argnums=(0, 3))
def image_logits(
    model: nn.Module, variables, images: jax.Array, size: Size, layout: Layout | None = None
) -> jax.Array:
    """Their logits: float32 [N, *size, C]."""
    logits, upsampling = padded_logits(model, variables, images, size, layout)
    return upsampling(logits)
