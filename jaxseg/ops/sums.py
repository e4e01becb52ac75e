"""Sums over whole arrays."""

import jax
import jax.numpy as jnp

from jaxseg.ops.cpu import sums as cpu
from jaxseg.ops.dispatch import dispatch


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """`x + bias`.

    Args:
      x: [..., C], floating point.
      bias: [C] in the dtype of `x`.

    >>> add_bias(jnp.zeros([1, 2, 2]), jnp.array([1.0, 2.0])).tolist()
    [[[1.0, 2.0], [1.0, 2.0]]]
    """
    return dispatch("add_bias", x, bias, reference=jnp.add, cpu=cpu.add_bias)


def square_sum(a: jax.Array) -> jax.Array:
    """The sum of the squares of all elements, a scalar in the dtype of `a`.

    >>> square_sum(jnp.array([[3.0, 4.0]]))
    Array(25., dtype=float32)
    """
    return dispatch("square_sum", a, reference=lambda a: jnp.square(a).sum(), cpu=cpu.square_sum)
