"""Batch normalisation by the statistics of the batch (Ioffe and Szegedy 2015)."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.ops.channel_sums import channel_sums
from jaxseg.ops.order import zero_after


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float = 1e-5,
    fast_variance: bool = True,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each channel with a mean of 0 and a variance of 1, times `scale`, plus `bias`.

    Its gradient is the paper's, written out (section 3): two sums over the map, of what the forward
    pass keeps anyway.

    Args:
      x: [..., C], floating point.
      scale, bias: [C], float32.
      epsilon: added to a variance before its root is taken.
      fast_variance: E[x²] - E[x]², which is inexact where a mean is much larger than the deviation,
        instead of E[(x - E[x])²], which looks at `x` twice.

    Returns:
      [..., C] in the dtype of `x` (computed in float32), and mean and variance of the batch, [C]
      float32; the variance is the biased one, over the number of values.

    >>> y, mean, var = batch_norm(jnp.array([[1.0], [3.0]]), jnp.ones(1), jnp.zeros(1), 0.0)
    >>> y.tolist(), mean.tolist(), var.tolist()
    ([[-1.0], [1.0]], [2.0], [1.0])
    """
    return _forward(x, scale, bias, epsilon, fast_variance)[0]


def normalized(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
) -> jax.Array:
    """`x` by statistics that are given, as `batch_norm` does it by those of the batch."""
    y = (_wide(x) - mean) * (scale * lax.rsqrt(var + epsilon)) + bias
    return y.astype(x.dtype)


def _forward(x, scale, bias, epsilon, fast_variance):
    wide, count = _wide(x), x.size // x.shape[-1]
    mean = channel_sums(wide) / count
    if fast_variance:
        var = jnp.maximum(channel_sums(wide * wide) / count - mean * mean, 0)
    else:
        var = channel_sums(jnp.square(wide - mean)) / count
    return (normalized(x, mean, var, scale, bias, epsilon), mean, var), (x, mean, var, scale)


def _backward(epsilon, fast_variance, saved, gradients):
    x, mean, var, scale = saved
    dy, dmean, dvar = gradients
    dy, count, root = _wide(dy), x.size // x.shape[-1], lax.rsqrt(var + epsilon)
    centred = lax.platform_dependent(_wide(x), dy, cpu=_kept, default=lambda x, _: x) - mean
    dbias = channel_sums(dy)
    dscale = channel_sums(dy * centred) * root
    slope = scale * root
    along = (2 * dvar - slope * root * dscale) / count
    dx = slope * dy + along * centred + (dmean - slope * dbias) / count
    return dx.astype(x.dtype), dscale, dbias


batch_norm.defvjp(_forward, _backward)


def _kept(x, dy):
    """`x` anew: or XLA would keep `x - mean` of the way forwards beside it."""
    return x + zero_after(dy)


def _wide(a):
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))
