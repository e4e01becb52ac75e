"""Activations that several later layers share."""

import jax
from jax import lax

from jaxseg.ops.dispatch import dispatch


def shared(x: jax.Array) -> jax.Array:
    """`x`, which the compiler must store once instead of computing it again for each user.

    XLA for GPUs writes the sum of a residual block twice, before and after its ReLU: the next layer
    reads the second array, and the next block recomputes its sum from the first. In PSPNet-50's
    step on an H200 that costs 1 GB of memory and of writes (jax 0.10.2).
    """
    return dispatch("shared", x, reference=_same, gpu=_kept)


@jax.custom_jvp
def _kept(x):
    return lax.optimization_barrier(x)


@_kept.defjvp
def _kept_jvp(primals, tangents):
    return _kept(*primals), tangents[0]  # the gradient needs no barrier


def _same(x):
    return x
