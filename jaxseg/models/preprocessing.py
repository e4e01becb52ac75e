"""What each network expects of its input: the mean and scale of its published weights."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxseg.errors import InputError
from jaxseg.nn.fields import check_choice
from jaxseg.ops.checks import as_pixels


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """An input normalisation `(rgb - mean) / std`, in units of 0..255, channels in RGB order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


CAFFE_VGG = Preprocessing(mean=(122.67891434, 116.66876762, 104.00698793))
"""RGB minus the ILSVRC mean, unscaled: the released FCN and DeconvNet (which store it as BGR)."""

IMAGENET = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
"""The mean and std of torchvision's networks, and of semseg's PSPNet."""

CAFFE_PSPNET = Preprocessing(mean=(123.68, 116.779, 103.939))
"""RGB minus the ILSVRC mean, unscaled: the released Caffe PSPNet (which takes it as BGR)."""

NORMALIZATIONS = {
    "caffe_vgg": CAFFE_VGG,
    "caffe_vgg_rounded": Preprocessing(mean=(123.0, 117.0, 104.0)),  # Caffe's VGG16 in torchvision
    "caffe_pspnet": CAFFE_PSPNET,
    "imagenet": IMAGENET,
}
"""By the names that a network's field `normalization` takes."""


def chosen(normalization: str | None, published: Preprocessing) -> Preprocessing:
    """What a network's field `normalization` stands for; None stands for `published`.

    Raises:
      InputError: an unknown name.

    >>> chosen("imagenet", published=CAFFE_VGG) == IMAGENET
    True
    """
    check_choice("normalization", normalization, (None, *NORMALIZATIONS))
    return published if normalization is None else NORMALIZATIONS[normalization]


def normalize(rgb: ArrayLike, preprocessing: Preprocessing) -> jax.Array:
    """Makes a network's input from photographs.

    Args:
      rgb: [..., 3] uint8, channels in RGB order.
      preprocessing: the network's own, `model.preprocessing`.

    Returns:
      [..., 3] float32.

    Raises:
      InputError: an array that is not uint8 (it may be normalised already) or has no three
        channels.

    >>> normalize(jnp.zeros([1, 2, 2, 3], jnp.uint8), CAFFE_VGG)[0, 0, 0].astype(int).tolist()
    [-122, -116, -104]
    """
    rgb = as_pixels(rgb)
    if rgb.dtype != jnp.uint8 or rgb.ndim < 1 or rgb.shape[-1] != 3:
        raise InputError(
            f"normalize got {rgb.dtype} of shape {tuple(rgb.shape)}.",
            "Give uint8 RGB photographs, [..., 3], not yet normalised.",
        )
    mean, std = jnp.asarray(preprocessing.mean), jnp.asarray(preprocessing.std)
    return (jnp.asarray(rgb).astype(jnp.float32) - mean) / std
