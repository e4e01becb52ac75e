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


def conv1x1(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 1×1 convolution to few channels, such as logits.

    The products are those of `conv2d`. GPUs and TPUs compute them as one matrix product, for which
    XLA chooses a memory layout that does not pad the few channels.

    Args:
      x: [N, H, W, I], floating point.
      kernel: [1, 1, I, O] in the dtype of `x`.

    Returns:
      [N, H, W, O] in the dtype of `x`.

    >>> import jax.numpy as jnp
    >>> conv1x1(jnp.ones([1, 1, 2, 3]), jnp.ones([1, 1, 3, 1])).tolist()
    [[[[3.0], [3.0]]]]
    """
    reference = functools.partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding=((0, 0), (0, 0)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    precision = jax.config.jax_default_matmul_precision  # as in `conv2d`
    return dispatch(
        "conv2d",
        x,
        kernel,
        reference=reference,
        gpu=functools.partial(gpu.conv2d, padding=0, strides=1, dilation=1, precision=precision),
        tpu=functools.partial(tpu.product, precision=precision),
        across_devices=("gpu", "tpu"),
    )
