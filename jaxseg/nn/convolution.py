"""Convolutions with bias or batch norm, and ReLU."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.nn.batch_norm import BatchNorm
from jaxseg.nn.capture import capture
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.deconvolution import deconv2d
from jaxseg.ops.sums import add_bias


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """`max(x, 0)`; its gradient, 0 at 0, needs only the result, which the next layer keeps."""
    return jnp.maximum(x, jnp.zeros((), x.dtype))  # jax2onnx would make a plain 0 float64


@relu.defjvp
def _relu_jvp(primals, tangents):
    (tangent,), y = tangents, relu(*primals)
    return y, jnp.where(y > 0, tangent, 0)


class ConvBlock(nn.Module):
    """A convolution or deconvolution with bias, optional batch norm, and ReLU: VGG's layer.

    Its parameters are `kernel` [k, k, in, out] and `bias`, and those of `bn`. A deconvolution's
    kernel is not flipped (see `deconv2d`). Captures `out` in `features`.

    Attributes:
      features: output channels.
      kernel: k, rows and columns of the window.
      padding: rows and columns of zeros at each side.
      norm: None or "batch".
      dtype: compute dtype.
      strides: step from one window to the next.
      groups: number of groups of channels in a convolution.
      deconv: whether the layer is a deconvolution.
      kernel_init: initializer of the kernel.
      bn_momentum, bn_epsilon: momentum and epsilon of batch norm.
      bn_shift: initial bias of batch norm.
      shown: computes the captured array from the output.
    """

    features: int
    kernel: int = 3
    padding: int = 1
    norm: str | None = None
    dtype: Any = jnp.float32
    strides: int = 1
    groups: int = 1
    deconv: bool = False
    kernel_init: Callable = nn.initializers.he_normal()
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    bn_shift: float = 0.0
    shown: Callable[[jax.Array], jax.Array] = lambda x: x

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[N, h, w, C] to [N, h', w', features] in `dtype`."""
        if self.norm not in (None, "batch"):
            raise InputError(f"norm is '{self.norm}'.", "Choose None or 'batch'.")
        shape = (self.kernel, self.kernel, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.deconv:
            x = deconv2d(x, kernel, self.padding, strides=self.strides)
        else:
            x = conv2d(x, kernel, self.padding, strides=self.strides, groups=self.groups)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.norm == "batch" and train:  # batch norm subtracts it: its gradient is exactly 0
            bias = jax.lax.stop_gradient(bias)
        x = add_bias(x, bias.astype(self.dtype))
        if self.norm == "batch":
            norm = BatchNorm(self.bn_momentum, self.bn_epsilon, self.bn_shift, name="bn")
            x = norm(x, train=train)
        return capture(self, "out", relu(x), self.shown)


class ConvNorm(nn.Module):
    """A convolution without bias, batch norm, and ReLU by default: ResNet's layer.

    Its padding keeps a map's size at stride 1. Its parameters are `kernel` and those of `bn`.
    Captures `out` in `features`.

    Attributes:
      features: output channels.
      kernel: k, rows and columns of the window; odd.
      strides: step from one window to the next.
      dilation: step from one row or column of a window to the next.
      relu: whether ReLU follows.
      bn_momentum: momentum of batch norm.
      dtype: compute dtype.
      fast_variance: see `jaxseg.ops.batch_norm`.
    """

    features: int
    kernel: int = 1
    strides: int = 1
    dilation: int = 1
    relu: bool = True
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32
    fast_variance: bool = True

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> jax.Array:
        """[N, h, w, C] to [N, h', w', features] in `dtype`."""
        kernel = self.param(
            "kernel",
            nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            (self.kernel, self.kernel, self.channels(x), self.features),
        )
        x = self.convolve(x, kernel.astype(self.dtype))
        norm = BatchNorm(self.bn_momentum, fast_variance=self.fast_variance, name="bn")
        x = norm(x, train=train)
        return capture(self, "out", relu(x) if self.relu else x)

    def channels(self, x: Any) -> int:
        """Number of input channels."""
        return x.shape[-1]

    def convolve(self, x: Any, kernel: jax.Array) -> jax.Array:
        """The input convolved with `kernel`."""
        padding = self.dilation * (self.kernel // 2)
        return conv2d(
            x.astype(self.dtype), kernel, padding, strides=self.strides, dilation=self.dilation
        )
