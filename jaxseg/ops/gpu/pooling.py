"""Max pooling whose gradient is found by comparisons.

XLA for GPUs makes a scatter of the gradient of `reduce_window`: zeros, a copy of them, and atomic
additions, whose order is another one each time. Of FCN's first pooling, with the convolution before
it, that is 1,559 MB on an H200, and by comparisons 677 (jax 0.10.2).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Place = tuple[int, int]


def max_pool(
    x: jax.Array,
    forward: Callable[[jax.Array], jax.Array],
    places: Sequence[Place],
    at: Callable[[jax.Array, Place, float], jax.Array],
    inside: Callable[[Place], jax.Array | bool],
) -> jax.Array:
    """`forward(x)`, with a gradient that goes to the first largest value of a window.

    Args:
      x: [N, H, W, C], floating point.
      forward: to the maxima, [N, H', W', C].
      places: rows and columns inside a window, in row order.
      at: (array, place, fill) to what stands at that place of every window, [N, H', W', C], with
        `fill` in the padding.
      inside: which windows have that place in the image.
    """

    @jax.custom_jvp
    def pool(x):
        return forward(x)

    @pool.defjvp
    def pool_jvp(primals, tangents):
        (x,), (move,) = primals, tangents
        y = pool(x)
        free, total = jnp.ones(y.shape, bool), jnp.zeros(y.shape, move.dtype)
        for place in places:
            value = at(x, place, -jnp.inf)
            here = free & inside(place) & ((value == y) | jnp.isnan(value))
            free &= ~here
            total = total + jnp.where(here, at(move, place, 0.0), 0)
        return y, total

    return pool(x)
