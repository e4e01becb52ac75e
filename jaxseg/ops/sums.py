"""Sums over whole arrays."""

import jax
import jax.numpy as jnp

from jaxseg.ops.cpu import sums as cpu
from jaxseg.ops.dispatch import dispatch
from jaxseg.ops.gpu import sums as gpu


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """`x + bias`.

    Args:
      x: [..., C], floating point.
      bias: [C] in the dtype of `x`.

    >>> add_bias(jnp.zeros([1, 2, 2]), jnp.array([1.0, 2.0])).tolist()
    [[[1.0, 2.0], [1.0, 2.0]]]
    """
    return dispatch("add_bias", x, bias, reference=jnp.add, cpu=cpu.add_bias)


def square_sum(*arrays: jax.Array) -> jax.Array:
    """The sum of the squares of all elements of all `arrays`, a scalar in their dtype.

    >>> square_sum(jnp.array([[3.0, 4.0]]))
    Array(25., dtype=float32)
    """

    def each(form):
        return lambda *arrays: sum(form(a) for a in arrays)

    return dispatch(
        "square_sum",
        *arrays,
        reference=each(lambda a: jnp.square(a).sum()),
        cpu=each(cpu.square_sum),
        gpu=gpu.square_sum,
    )
