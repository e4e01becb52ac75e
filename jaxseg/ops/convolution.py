"""Convolution over height and width."""

import functools

import jax
from jax import lax

from jaxseg.ops.cpu import convolution as cpu
from jaxseg.ops.dispatch import dispatch


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    padding: int = 0,
    *,
    strides: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """Convolution (cross-correlation) over height and width.

    Args:
      x: [N, H, W, I], floating point.
      kernel: [k, k, I / groups, O] in the dtype of `x`.
      padding: rows and columns of zeros at each side.
      strides: step from one window to the next.
      dilation: step from one row or column of a window to the next.
      groups: parts that the channels fall into, each convolved by itself.

    Returns:
      [N, H', W', O] in the dtype of `x`, with
      H' = (H + 2 * padding - dilation * (k - 1) - 1) // strides + 1.

    >>> import jax.numpy as jnp
    >>> conv2d(jnp.ones([1, 3, 3, 1]), jnp.ones([3, 3, 1, 1]), 1)[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    reference = functools.partial(
        lax.conv_general_dilated,
        window_strides=(strides, strides),
        padding=[(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    form = None
    if groups == 1 and cpu.has_form(kernel.shape[0], padding, strides):
        form = functools.partial(cpu.conv2d, padding=padding, strides=strides, dilation=dilation)
    return dispatch("conv2d", x, kernel, reference=reference, cpu=form)
