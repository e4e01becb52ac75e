"""Deconvolution (transposed convolution) with the kernel in the order of Caffe and PyTorch."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.ops.convolution import conv2d
from jaxseg.ops.cpu import deconvolution as cpu
from jaxseg.ops.dispatch import dispatch


def deconv2d(x: jax.Array, kernel: jax.Array, padding: int = 0, *, strides: int = 1) -> jax.Array:
    """Deconvolution over height and width: each cell adds the kernel, scaled by it, to the output.

    Input cell (y, x) adds `kernel[i, j]` to output cell (strides * y + i - padding,
    strides * x + j - padding). The kernel is not flipped: Caffe's and PyTorch's [I, O, k, k]
    becomes this one by `transpose(2, 3, 0, 1)` alone.

    Args:
      x: [N, h, w, I], floating point.
      kernel: [k, k, I, O] in the dtype of `x`.
      padding: rows and columns cut off at each side, less than k.
      strides: step from one cell's kernel to the next one's.

    Returns:
      [N, H, W, O] in the dtype of `x`, with H = strides * (h - 1) + k - 2 * padding.

    >>> kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    >>> deconv2d(jnp.ones([1, 1, 1, 1]), kernel)[0, :, :, 0].astype(int).tolist()
    [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    """
    k = kernel.shape[0]
    transposed = functools.partial(_transposed, around=k - 1 - padding, strides=strides)
    if strides > 1:
        return transposed(x, kernel)
    if padding:
        return conv2d(x, kernel[::-1, ::-1], k - 1 - padding)
    reference = _spread_one if x.shape[1:3] == (1, 1) else transposed
    return dispatch("deconv2d", x, kernel, reference=reference, cpu=cpu.spread)


def _transposed(x, kernel, *, around, strides):
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        window_strides=(1, 1),
        padding=[(around, around)] * 2,
        lhs_dilation=(strides, strides),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _spread_one(x, kernel):
    """Of one cell: the kernel, scaled by it (DeconvNet's fc6-deconv)."""
    return jnp.einsum("nI,ijIO->nijO", x[:, 0, 0], kernel)
