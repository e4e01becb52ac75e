"""Deconvolution (transposed convolution) with the kernel in the order of Caffe and PyTorch."""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.ops.convolution import conv2d, gradients_in_turn


def deconv2d(x: jax.Array, kernel: jax.Array, padding: int = 0, *, strides: int = 1) -> jax.Array:
    """Deconvolution over height and width: each value adds the kernel, scaled by it, to the output.

    Input cell (y, x) adds `kernel[i, j]` to output cell (strides * y + i - padding,
    strides * x + j - padding). The kernel is not flipped: Caffe's and PyTorch's [I, O, k, k]
    becomes this one by `transpose(2, 3, 0, 1)` alone.

    Args:
      x: [N, h, w, I], floating point.
      kernel: [k, k, I, O] in the dtype of `x`.
      padding: rows and columns cut off at each side, less than k.
      strides: steps between the kernels of neighbouring cells.

    Returns:
      [N, H, W, O] in the dtype of `x`, with H = strides * (h - 1) + k - 2 * padding.

    >>> kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    >>> deconv2d(jnp.ones([1, 1, 1, 1]), kernel)[0, :, :, 0].astype(int).tolist()
    [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    """
    k = kernel.shape[0]
    around = k - 1 - padding
    if strides > 1:
        return lax.conv_general_dilated(
            x,
            kernel[::-1, ::-1],
            (1, 1),
            [(around, around)] * 2,
            lhs_dilation=(strides, strides),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    if padding:  # about as large as its input: a convolution with the flipped kernel
        return conv2d(x, kernel[::-1, ::-1], around)
    return _spread_in_turn(x, kernel)


def _spread(x, kernel):
    """One matrix product for each place of the kernel, shifted there and added.

    fc6-deconv makes 7×7 cells of one. As a convolution it would see that cell amid six rows and
    columns of zeros, 49 times the work.
    """
    n, h, w, inputs = x.shape
    k, outputs = kernel.shape[0], kernel.shape[3]
    cells = jnp.broadcast_to(x.reshape(1, n * h * w, inputs), (k * k, n * h * w, inputs))
    parts = lax.dot_general(
        cells,
        kernel.reshape(k * k, inputs, outputs),
        (((2,), (1,)), ((0,), (0,))),
        preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
    ).reshape(k, k, n, h, w, outputs)
    if h == w == 1:
        return parts[..., 0, 0, :].transpose(2, 0, 1, 3).astype(x.dtype)
    total = jnp.zeros((n, h + k - 1, w + k - 1, outputs), parts.dtype)
    for i, j in itertools.product(range(k), range(k)):
        total = total.at[:, i : i + h, j : j + w].add(parts[i, j])
    return total.astype(x.dtype)


_spread_in_turn = jax.custom_vjp(_spread)
_spread_in_turn.defvjp(
    lambda x, kernel: (_spread(x, kernel), (x, kernel)),
    lambda saved, dy: gradients_in_turn(_spread, saved[0], saved[1], dy),
)
