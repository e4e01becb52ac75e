"""Sums over a whole map, such as a bias's gradient and batch norm's statistics are made of."""

import jax
import jax.numpy as jnp
from jax import lax

_GROUPS = 8  # parts of a map that are summed side by side


def channel_sums(a: jax.Array) -> jax.Array:
    """The sum over all axes but the last.

    XLA's CPU backend sums over a map in one thread, and slowly where what is summed is a product
    that it works out on the way. Here it has the sums of parts of the map to share out.

    Args:
      a: [..., C], floating point.

    Returns:
      [C] in the dtype of `a` (summed in float32).

    >>> channel_sums(jnp.ones([2, 3, 3, 2])).tolist()
    [18.0, 18.0]
    """
    if jax.device_count() > 1:  # devices sum their own shares
        return _plain(a)
    return lax.platform_dependent(a, cpu=_in_groups, default=_plain)


@jax.custom_vjp
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """`x + bias`, of which the gradient of `bias` is made of `channel_sums`.

    Args:
      x: [..., C], floating point.
      bias: [C] in the dtype of `x`.
    """
    return x + bias


def _add_bias_backward(_, dy):
    return dy, channel_sums(dy)


add_bias.defvjp(lambda x, bias: (x + bias, None), _add_bias_backward)


def _plain(a):
    return a.sum(axis=tuple(range(a.ndim - 1)))


def _in_groups(a):
    rows, columns = a.size // a.shape[-1], a.shape[-1]
    groups = next(g for g in range(_GROUPS, 0, -1) if rows % g == 0)
    wide = jnp.promote_types(a.dtype, jnp.float32)
    parts = a.reshape(groups, rows // groups, columns).sum(axis=1, dtype=wide)
    parts = lax.optimization_barrier(parts)  # or XLA makes one sum of the two
    return parts.sum(axis=0).astype(a.dtype)
