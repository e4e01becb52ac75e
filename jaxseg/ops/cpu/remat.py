"""Recomputation in the backward pass that XLA's CPU compiler cannot move to the forward pass."""

from collections.abc import Callable
from typing import Any

import jax

from jaxseg.ops.cpu.order import zero_after


def remat(function: Callable[[Any, jax.Array], Any], others: Any, x: jax.Array) -> Any:
    """`function(others, x)`, which saves only `others` and `x` for the backward pass.

    `jax.checkpoint` separates the recomputation from the first computation by a barrier. XLA's CPU
    compiler removes the barrier before it schedules, so that both run in the forward pass. Here the
    recomputation takes `x` plus a zero that depends on the gradient of the result.
    """

    def backward(saved, gradient):
        others, x = saved
        first = jax.tree.leaves(gradient)[0]
        x = jax.lax.optimization_barrier(x + zero_after(first).astype(x.dtype))
        return jax.vjp(function, others, x)[1](gradient)

    call = jax.custom_vjp(function)
    call.defvjp(lambda others, x: (function(others, x), (others, x)), backward)
    return call(others, x)
