"""What all networks have in common."""

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
"""The fields that every network has on its images; a config has them in its group `data`."""

PRECISIONS = ("default", "high", "highest")


class SegmentationModel(nn.Module, kw_only=True):
    """A network from images to logits. A subclass has `network` and, as fields, what it is made of.

    `apply(variables, images)` takes images [N, H, W, 3] floating point, RGB, normalised by
    `preprocessing`, and gives logits [N, H, W, num_classes] float32 at the image's resolution.
    `apply(variables, images, method="heads")` gives the coarse logits instead, from which losses
    and metrics are computed without the large ones.

    Args:
      channels: of the images: 3 as published, 1 for grey, or any number of bands.
      bits: of a pixel's channel: 8, 16 (uint16) or 32 (float32).
      mean, std: of each channel over the data, in the units of its pixels, where they take the
        place of the published ones; floats need them. See `preprocessing.fitted`.
      matmul_precision: how exact products of float32 are on GPU and TPU: "default", "high" or
        "highest".
    """

    channels: int = 3
    bits: int = 8
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    matmul_precision: str = "default"

    if TYPE_CHECKING:  # Flax's own says that it may be a pair, which depends on `mutable`

        def apply(self, variables: Mapping[str, Any], *args: Any, **options: Any) -> Any: ...

    published = Preprocessing(mean=(0.0, 0.0, 0.0))
    """The preprocessing of the published weights; a subclass has its own."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The normalisation of its images: `of_photographs`, or what suits other ones."""
        return fitted(self.of_photographs, self.kind, self.mean, self.std)

    @property
    def of_photographs(self) -> Preprocessing:
        """What the weights expect of photographs: the field `normalization`, or `published`."""
        return chosen(getattr(self, "normalization", None), self.published)

    @property
    def kind(self) -> ImageKind:
        """The images that it takes, before they are normalised."""
        return ImageKind(self.channels, self.bits)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits at the image's resolution, [N, H, W, num_classes] float32."""
        return self.heads(images, train=train)[0].upsampled()

    def heads(self, images: jax.Array, *, train: bool = False) -> list[Head]:
        """Coarse logits, each with its map to the image's resolution.

        The first head is the network's result. In training, auxiliary heads may follow it.

        Raises:
          InputError: no batch of normalised RGB images, or a size that the network cannot take.
        """
        images = as_array(images)
        check_images(images, self.channels)
        self.check_size(images.shape[1], images.shape[2])
        with _precision(self.matmul_precision):
            heads = self.network(images, train)
        return heads if train else heads[:1]

    def network(self, images: jax.Array, train: bool) -> list[Head]:
        """The network itself; compact. Auxiliary heads are needed in training and for `init`."""
        raise TypeError(f"{type(self).__name__} has no method network.")

    def check_size(self, height: int, width: int) -> None:
        """Raises InputError where the network cannot take images of this size."""


def _precision(name: str) -> contextlib.AbstractContextManager:
    """The setting in which a network is traced: how exact its products of float32 are.

    A CPU takes float32 as it is. TPUs multiply in bfloat16 and GPUs in TensorFloat-32, which keep 8
    and 11 of 24 bits, unless they are asked for "high" (16 and more, by several products) or
    "highest" (all). "default" leaves JAX's own setting in force, `jax_default_matmul_precision`.
    Each product keeps its precision for its gradients. Resizes, average pooling and losses are
    "highest" always.
    """
    check_choice("matmul_precision", name, PRECISIONS)
    return contextlib.nullcontext() if name == "default" else jax.default_matmul_precision(name)


def check_images(images: jax.Array, channels: int = 3) -> None:
    """Raises InputError where `images` is not a batch of normalised images of so many channels."""
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
