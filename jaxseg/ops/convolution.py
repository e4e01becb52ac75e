"""Convolution over height and width."""

import functools
from typing import Any

import jax
from jax import lax

from jaxseg.ops.cpu import convolution as cpu
from jaxseg.ops.dispatch import dispatch
from jaxseg.ops.gpu import convolution as gpu
from jaxseg.ops.tpu import convolution as tpu


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
      groups: number of groups of channels, which are convolved separately.

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
        padding=((padding, padding),) * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    forms: dict[str, Any] = {}
    how = {"padding": padding, "strides": strides, "dilation": dilation}
    if groups == 1:
        # for gradients traced after the caller's precision context has ended
        precision = jax.config.jax_default_matmul_precision
        forms["gpu"] = functools.partial(gpu.conv2d, **how, precision=precision)
        if strides == dilation == 1 and kernel.shape[0] > 1 and x.shape[-1] <= tpu.MOST:
            forms["tpu"] = functools.partial(tpu.conv2d, padding=padding, precision=precision)
        if cpu.has_form(kernel.shape[0], padding, strides):
            forms["cpu"] = functools.partial(cpu.conv2d, **how)
    return dispatch("conv2d", x, kernel, reference=reference, **forms)
