"""Control of the order of computation in XLA's CPU compiler."""

import jax
import jax.numpy as jnp


def zero_after(a: jax.Array) -> jax.Array:
    """A scalar zero that depends on `a`; an array plus this zero is computed after `a`.

    XLA's CPU compiler removes `optimization_barrier` before it schedules.
    """
    return jnp.fmin(jnp.abs(a[(0,) * a.ndim]), 0)  # also 0 for NaN
