"""What all networks have in common."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.models.preprocessing import Preprocessing, chosen
from jaxseg.nn.heads import Head
from jaxseg.ops.checks import as_array


class SegmentationModel(nn.Module):
    """A network from images to logits. A subclass has `network` and, as fields, what it is made of.

    `apply(variables, images)` takes images [N, H, W, 3] floating point, RGB, normalised by
    `preprocessing`, and gives logits [N, H, W, num_classes] float32 at the image's resolution.
    `apply(variables, images, method="heads")` gives the coarse logits instead, from which losses
    and metrics are computed without the large ones.
    """

    if TYPE_CHECKING:  # Flax's own says that it may be a pair, which depends on `mutable`

        def apply(self, variables: Mapping[str, Any], *args: Any, **options: Any) -> Any: ...

    published = Preprocessing(mean=(0.0, 0.0, 0.0))
    """The preprocessing of the published weights; a subclass has its own."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The normalisation that the weights expect: the field `normalization`, or `published`."""
        return chosen(getattr(self, "normalization", None), self.published)

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
        check_images(images)
        self.check_size(images.shape[1], images.shape[2])
        heads = self.network(images, train)
        return heads if train else heads[:1]

    def network(self, images: jax.Array, train: bool) -> list[Head]:
        """The network itself; compact. Auxiliary heads are needed in training and for `init`."""
        raise TypeError(f"{type(self).__name__} has no method network.")

    def check_size(self, height: int, width: int) -> None:
        """Raises InputError where the network cannot take images of this size."""


def check_images(images: jax.Array) -> None:
    """Raises InputError where `images` is not a batch of normalised RGB images."""
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise InputError(
            f"The network got an array of shape {tuple(images.shape)}.",
            "Give a batch of RGB images: [N, H, W, 3].",
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"The network got {images.dtype} images.",
            "Normalise them first: jaxseg.normalize(images, model.preprocessing).",
        )
