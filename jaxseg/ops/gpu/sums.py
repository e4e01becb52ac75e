"""The sum of squares of many arrays in few kernels.

A sum over a large array takes two kernels on a GPU. Each small array, such as those of a batch
norm, takes a kernel that XLA fuses with no other. Two norms of DeconvNet's 116 parameters and
gradients took 232 of the 709 kernels of its step on an H200 (jax 0.10.2).
"""

import jax
import jax.numpy as jnp
from jax import lax

_SMALL = 2**14  # elements up to which arrays are concatenated


def square_sum(*arrays: jax.Array) -> jax.Array:
    """See `jaxseg.ops.sums.square_sum`."""
    parts = [jnp.square(a).sum(axis=-1).ravel() for a in arrays if a.size > _SMALL]
    parts += [jnp.square(a).ravel() for a in arrays if a.size <= _SMALL]
    # The barrier keeps XLA from splitting the sum into one sum per concatenated array.
    return lax.optimization_barrier(jnp.concatenate(parts)).sum()
