"""Heads: layers from features to coarse logits, and the upsampling to image resolution."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.nn.capture import capture
from jaxseg.nn.convolution import ConvNorm
from jaxseg.nn.dropout import Dropout
from jaxseg.nn.fields import check_choice
from jaxseg.nn.pyramid_pooling import Pyramid, PyramidConv
from jaxseg.ops import upsampling
from jaxseg.ops.convolution import conv1x1
from jaxseg.ops.upsampling import Upsampling


@flax.struct.dataclass
class Head:
    """One output of a network: coarse logits, and their upsampling to image resolution.

    Attributes:
      logits: [N, h, w, num_classes] float32.
      upsampling: the linear map from [h, w] to the image's [H, W].
      weight: loss weight of the head in training; 1 for the first head.
    """

    logits: jax.Array
    upsampling: Upsampling = flax.struct.field(pytree_node=False)
    weight: float = flax.struct.field(pytree_node=False, default=1.0)

    @classmethod
    def resized(
        cls,
        logits: jax.Array,
        image_size: tuple[int, int],
        align_corners: bool,
        weight: float = 1.0,
    ) -> "Head":
        """A head whose logits are resized bilinearly to `image_size`, (height, width).

        `align_corners`: whether corner pixels are mapped to corner pixels; otherwise the resize
        uses half-pixel centres.
        """
        resize = upsampling.align_corners if align_corners else upsampling.half_pixel
        return cls(logits, resize(logits.shape[1:3], image_size), weight)

    def upsampled(self) -> jax.Array:
        """Logits at the image's resolution: [N, H, W, num_classes] float32."""
        return self.upsampling(self.logits)


class Score(nn.Module):
    """A 1×1 convolution from features to logits. Captures `out` in `features`.

    Attributes:
      num_classes: the number of classes, C.
      kernel_init: initializer of the kernel.
      dtype: compute dtype.
    """

    num_classes: int
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[N, h, w, features] to [N, h, w, num_classes] in `dtype`."""
        shape = (1, 1, x.shape[-1], self.num_classes)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,)).astype(self.dtype)
        return capture(self, "out", conv1x1(x.astype(self.dtype), kernel) + bias)


class ScoreHead(nn.Module):
    """From features to logits: 3×3 conv, batch norm, ReLU, dropout, 1×1 convolution with bias.

    Attributes:
      num_classes: the number of classes, C.
      features: output channels of the 3×3 convolutions.
      dropout: rate in training.
      dropout_mode: "element", or "channel" to drop whole channels.
      bn_momentum: momentum of batch norm.
      dtype: compute dtype.
      convs: number of 3×3 convolutions, 1 or more.
      concat_input: whether a further 3×3 convolution takes their input concatenated with their
        output.
      dilation: dilation of the 3×3 convolutions, except that further one.
    """

    num_classes: int
    features: int
    dropout: float = 0.1
    dropout_mode: str = "element"
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32
    convs: int = 1
    concat_input: bool = False
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array | Pyramid, *, train: bool = False) -> jax.Array:
        """[N, h, w, C], or a `Pyramid` of such maps, to [N, h, w, num_classes] float32."""
        check_choice("dropout_mode", self.dropout_mode, ("element", "channel"))
        if self.convs < 1:
            raise InputError(f"head_convs is {self.convs}.", "Give 1 or more.")

        def conv(name, x, dilation=1):
            layer = PyramidConv if isinstance(x, Pyramid) else ConvNorm
            how = {"bn_momentum": self.bn_momentum, "dtype": self.dtype, "name": name}
            return layer(self.features, 3, dilation=dilation, **how)(x, train=train)

        features, x = x, conv("conv", x, self.dilation)
        for i in range(2, self.convs + 1):
            x = conv(f"conv{i}", x, self.dilation)
        if self.concat_input:
            x = conv("conv_concat", jnp.concatenate([features, x], axis=-1))
        together = (1, 2) if self.dropout_mode == "channel" else ()
        x = Dropout(self.dropout, broadcast_dims=together, deterministic=not train)(x)
        x = Score(
            self.num_classes,
            kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
            dtype=self.dtype,
            name="score",
        )(x)
        return x.astype(jnp.float32)
