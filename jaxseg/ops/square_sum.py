"""The sum of an array's squares, without an array of them."""

import jax
import jax.numpy as jnp
from jax import lax

_PART = 2**18  # values that are squared at a time
_TOGETHER = 4  # such parts, which processors share


def square_sum(a: jax.Array) -> jax.Array:
    """The sum of squares, a scalar in the dtype of `a`.

    XLA's CPU backend makes the squares first: 411 MB for fc6's gradient, touched for the first time
    and then added up by one thread. Here parts of the array are added up, one after the other.

    >>> square_sum(jnp.array([[3.0, 4.0]]))
    Array(25., dtype=float32)
    """
    if a.size < 8 * _TOGETHER * _PART or jax.device_count() > 1:  # devices sum their own shares
        return _plain(a)
    return lax.platform_dependent(a, cpu=_in_parts, default=_plain)


def _plain(a):
    return jnp.square(a).sum()


def _in_parts(a):
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
    return sum(totals).sum() + _plain(a[_TOGETHER * count * rows :])
