"""The gradient of unpooling from 2×2 windows, by four comparisons."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def with_own_gradient(
    values: jax.Array, inside: jax.Array, forward: Callable, places: Sequence[int]
) -> jax.Array:
    """`forward(values, inside)`, with a gradient that selects from each window without a sum.

    Args:
      values: [N, h, w, C].
      inside: [N, h, w, C] int32, the position of each value in its window: one of `places`.
      forward: to the windows, [N, h, 2, w, 2, C].
      places: the four positions of a window, in row order.
    """
    return forward(values, inside)


def _backward(_, places, inside, dy):
    total = jnp.zeros(inside.shape, dy.dtype)
    for i, place in enumerate(places):
        total = jnp.where(inside == place, dy[:, :, i // 2, :, i % 2], total)
    return total, None


with_own_gradient.defvjp(
    lambda values, inside, forward, places: (forward(values, inside), inside), _backward
)
