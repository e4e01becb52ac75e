"""Batch normalisation with the statistics of the batch (Ioffe and Szegedy 2015)."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.ops.cpu.batch_norm import batch_norm as cpu_batch_norm
from jaxseg.ops.dispatch import dispatch
from jaxseg.ops.gpu.batch_norm import batch_norm as gpu_batch_norm


def batch_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float = 1e-5,
    fast_variance: bool = True,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises each channel to mean 0 and variance 1, times `scale`, plus `bias`.

    Args:
      x: [..., C], floating point.
      scale, bias: [C], float32.
      epsilon: added to the variance.
      fast_variance: whether the variance is E[x²] - E[x]², one pass over `x`, which is inexact if
        the mean is much larger than the standard deviation; otherwise E[(x - E[x])²], two passes.

    Returns:
      [..., C] in the dtype of `x` (computed in float32), and the mean and the biased variance of
      the batch, [C] float32.

    >>> y, mean, var = batch_norm(jnp.array([[1.0], [3.0]]), jnp.ones(1), jnp.zeros(1), 0.0)
    >>> y.tolist(), mean.tolist(), var.tolist()
    ([[-1.0], [1.0]], [2.0], [1.0])
    """
    how = {"epsilon": epsilon, "fast_variance": fast_variance}
    reference = functools.partial(_batch_norm, **how)
    return dispatch(
        "batch_norm",
        x,
        scale,
        bias,
        reference=reference,
        cpu=functools.partial(cpu_batch_norm, **how),
        gpu=functools.partial(gpu_batch_norm, **how),
    )


def normalized(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
) -> jax.Array:
    """`x` [..., C] normalised by a given mean and variance, in the dtype of `x`."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    y = (wide - mean) * (scale * lax.rsqrt(var + epsilon)) + bias
    return y.astype(x.dtype)


def _batch_norm(x, scale, bias, *, epsilon, fast_variance):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1))
    mean = wide.mean(axes)
    if fast_variance:
        var = jnp.maximum(jnp.square(wide).mean(axes) - jnp.square(mean), 0)
    else:
        var = jnp.square(wide - mean).mean(axes)
    return normalized(x, mean, var, scale, bias, epsilon), mean, var
