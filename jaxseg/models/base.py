"""The base class of all networks."""

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.models.preprocessing import Preprocessing, chosen, fitted
from jaxseg.nn.fields import check_choice
from jaxseg.nn.heads import Head
from jaxseg.ops.checks import as_array
from jaxseg.utils.image_kind import ImageKind

IMAGE_FIELDS = ("channels", "bits", "mean", "std")
"""The fields of every network that describe its images; a config has them in its group `data`."""

PRECISIONS = ("default", "high", "highest")


class SegmentationModel(nn.Module, kw_only=True):
    """A network from images to logits. A subclass defines `network`, and its own options as fields.

    `apply(variables, images)` takes images [N, H, W, 3] floating point, RGB, normalised by
    `preprocessing`, and returns logits [N, H, W, num_classes] float32 at the image's resolution.
    `apply(variables, images, method="heads")` returns the coarse logits, from which losses and
    metrics are computed without full-resolution logits.

    Args:
      channels: image channels: 3 as published, 1 for grey, or any number of bands.
      bits: bits per channel of a pixel: 8, 16 (uint16) or 32 (float32).
      mean, std: mean and std of each channel over the data, in pixel units; they replace the
        published values. Floats need them. See `preprocessing.fitted`.
      matmul_precision: precision of float32 products on GPU and TPU: "default", "high" or
        "highest".
      normalization: the input normalisation of the weights, one of `preprocessing.NORMALIZATIONS`;
        None: that of the released weights.
      remat: whether the backward pass recomputes the activations of a block, or the name of one of
        `jax.checkpoint_policies` (see `jaxseg.ops.remat.POLICIES`).
      dtype: compute dtype; parameters, statistics and logits are float32.
    """

    channels: int = 3
    bits: int = 8
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    matmul_precision: str = "default"
    normalization: str | None = None
    remat: bool | str = False
    dtype: Any = jnp.float32

    if TYPE_CHECKING:  # Flax's annotation is a union with a pair, which depends on `mutable`

        def apply(self, variables: Mapping[str, Any], *args: Any, **options: Any) -> Any: ...

    published = Preprocessing(mean=(0.0, 0.0, 0.0))
    """The preprocessing of the published weights; subclasses override it."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The normalisation of the network's images: `of_photographs`, fitted to their kind."""
        return fitted(self.of_photographs, self.kind, self.mean, self.std)

    @property
    def of_photographs(self) -> Preprocessing:
        """The normalisation of 8-bit RGB images: the field `normalization`, or `published`."""
        return chosen(self.normalization, self.published)

    @property
    def kind(self) -> ImageKind:
        """The kind of images that the network accepts, before normalisation."""
        return ImageKind(self.channels, self.bits)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits at the image's resolution, [N, H, W, num_classes] float32."""
        return self.heads(images, train=train)[0].upsampled()

    def heads(self, images: jax.Array, *, train: bool = False) -> list[Head]:
        """Coarse logits, each with its upsampling to the image's resolution.

        The first head is the network's result. In training, auxiliary heads may follow it.

        Raises:
          InputError: not a batch of normalised images, or an unsupported size.
        """
        images = as_array(images)
        check_images(images, self.channels)
        self.check_size(images.shape[1], images.shape[2])
        with _precision(self.matmul_precision):
            heads = self.network(images, train)
        return heads if train else heads[:1]

    def network(self, images: jax.Array, train: bool) -> list[Head]:
        """The layers of the network; compact. Training and `init` include the auxiliary heads."""
        raise NotImplementedError(f"{type(self).__name__} has no method network.")

    def check_size(self, height: int, width: int) -> None:
        """Raises InputError if the network does not support images of this size."""


def _precision(name: str) -> contextlib.AbstractContextManager:
    """The context in which a network is traced: the precision of its float32 products.

    A CPU computes in full float32. TPUs multiply in bfloat16 and GPUs in TensorFloat-32, which keep
    8 and 11 of 24 bits, unless the precision is "high" (16 bits or more, by several products) or
    "highest" (all). "default" leaves JAX's setting `jax_default_matmul_precision` in force. The
    gradients of a product have its precision. Resizes, average pooling and losses always use
    "highest".
    """
    check_choice("matmul_precision", name, PRECISIONS)
    return contextlib.nullcontext() if name == "default" else jax.default_matmul_precision(name)


def check_images(images: jax.Array, channels: int = 3) -> None:
    """Raises InputError if `images` is not a batch of normalised images with `channels`."""
    if images.ndim != 4 or images.shape[-1] != channels or 0 in images.shape:
        what = "RGB images" if channels == 3 else f"images of {channels} channels"
        raise InputError(
            f"The network got an array of shape {tuple(images.shape)}.",
            f"Give a batch of {what}: [N, H, W, {channels}].",
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"The network got {images.dtype} images.",
            "Normalise them first: jaxseg.normalize(images, model.preprocessing).",
        )
