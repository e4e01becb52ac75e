"""Batch normalisation with multi-threaded sums, and a gradient that saves only `x`."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.ops.cpu.order import zero_after
from jaxseg.ops.cpu.sums import channel_sum


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_norm(x, scale, bias, epsilon, fast_variance):
    """See `jaxseg.ops.batch_norm`; the gradient is the paper's explicit formula (section 3)."""
    return _forward(x, scale, bias, epsilon, fast_variance)[0]


def _forward(x, scale, bias, epsilon, fast_variance):
    wide, count = _wide(x), x.size // x.shape[-1]
    mean = channel_sum(wide) / count
    if fast_variance:
        var = jnp.maximum(channel_sum(wide * wide) / count - mean * mean, 0)
    else:
        var = channel_sum(jnp.square(wide - mean)) / count
    y = (wide - mean) * (scale * lax.rsqrt(var + epsilon)) + bias
    return (y.astype(x.dtype), mean, var), (x, mean, var, scale)


def _backward(epsilon, fast_variance, saved, gradients):
    x, mean, var, scale = saved
    dy, dmean, dvar = gradients
    dy, count, root = _wide(dy), x.size // x.shape[-1], lax.rsqrt(var + epsilon)
    # After dy: otherwise XLA keeps x - mean from the forward pass in addition to x.
    centred = _wide(x) + zero_after(dy) - mean
    dbias = channel_sum(dy)
    dscale = channel_sum(dy * centred) * root
    slope = scale * root
    along = (2 * dvar - slope * root * dscale) / count
    dx = slope * dy + along * centred + (dmean - slope * dbias) / count
    return dx.astype(x.dtype), dscale, dbias


batch_norm.defvjp(_forward, _backward)


def _wide(a):
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))
