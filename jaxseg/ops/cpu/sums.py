"""Multi-threaded sums over large arrays, without intermediate arrays."""

import jax
import jax.numpy as jnp
from jax import lax

_GROUPS = 8  # parts of a map, one per thread
_PART = 2**18  # values squared at a time
_TOGETHER = 4  # parts of this size that run in parallel


def channel_sum(a: jax.Array) -> jax.Array:
    """The sum over all axes but the last, in the dtype of `a` (summed in float32).

    XLA's CPU backend sums a map in one thread. Here `_GROUPS` parts of the map are summed first.
    """
    rows, columns = a.size // a.shape[-1], a.shape[-1]
    groups = next(g for g in range(_GROUPS, 0, -1) if rows % g == 0)
    wide = jnp.promote_types(a.dtype, jnp.float32)
    parts = a.reshape(groups, rows // groups, columns).sum(axis=1, dtype=wide)
    parts = lax.optimization_barrier(parts)  # otherwise XLA merges the two sums
    return parts.sum(axis=0).astype(a.dtype)


@jax.custom_vjp
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """`x + bias`; the gradient of `bias` is a `channel_sum`."""
    return x + bias


add_bias.defvjp(lambda x, bias: (x + bias, None), lambda _, dy: (dy, channel_sum(dy)))


def square_sum(a: jax.Array) -> jax.Array:
    """The sum of squares, a scalar in the dtype of `a`.

    XLA's CPU backend creates an array of the squares first: 411 MB for fc6's gradient. Here parts
    of `a` are squared and summed one after the other.
    """
    if a.size < 8 * _TOGETHER * _PART:
        return jnp.square(a).sum()
    columns = a.shape[-1]
    a = a.reshape(-1, columns)
    rows = max(1, _PART // columns)
    count = a.shape[0] // (_TOGETHER * rows)

    def add(i, totals):
        parts = (
            lax.dynamic_slice_in_dim(a, (k * count + i) * rows, rows) for k in range(_TOGETHER)
        )
        return [t + jnp.square(p).sum(axis=0) for t, p in zip(totals, parts, strict=True)]

    totals = lax.fori_loop(0, count, add, [jnp.zeros(columns, a.dtype)] * _TOGETHER)
    rest = jnp.square(a[_TOGETHER * count * rows :]).sum()
    return sum(totals).sum() + rest
