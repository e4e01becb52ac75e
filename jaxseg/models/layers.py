"""The layers that the networks share."""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.upsampling import Upsampling


@flax.struct.dataclass
class Head:
    """One output of a network: coarse logits, and how they become logits at the image's resolution.

    Attributes:
      logits: [N, h, w, num_classes] float32.
      upsampling: the map from [h, w] to the image's [H, W].
      weight: what the head's loss counts in training; the first head's is 1.
    """

    logits: jax.Array
    upsampling: Upsampling = flax.struct.field(pytree_node=False)
    weight: float = flax.struct.field(pytree_node=False, default=1.0)

    def upsampled(self) -> jax.Array:
        """Logits at the image's resolution: [N, H, W, num_classes] float32."""
        return self.upsampling(self.logits)


class ConvBlock(nn.Module):
    """A convolution with bias, batch norm where asked for, and ReLU.

    Without norm its parameters are the convolution's own `kernel` and `bias`.
    """

    features: int
    kernel: int = 3
    padding: int = 1
    norm: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        kernel = self.param(
            "kernel",
            nn.initializers.he_normal(),
            (self.kernel, self.kernel, x.shape[-1], self.features),
        )
        x = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), self.padding)
        x = x + self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        if self.norm == "batch":
            x = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, dtype=self.dtype, name="bn"
            )(x)
        return nn.relu(x)


def scaled(features: int, width: float) -> int:
    """`features` times `width`, rounded, at least 1."""
    return max(1, round(features * width))


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


def field_names(module: Any) -> list[str]:
    """The fields of a Linen module that a caller may set."""
    return [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
