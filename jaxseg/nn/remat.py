"""Activations that are computed again in the backward pass instead of being kept."""

from collections.abc import Callable

import flax.core.lift
import flax.linen as nn
import flax.linen.transforms
import jax

from jaxseg.ops.order import zero_after


def computed_again(
    function: Callable[[nn.Module, jax.Array], jax.Array],
) -> Callable[[nn.Module, jax.Array], jax.Array]:
    """`function(module, x)`, of which only `x` is kept for the backward pass.

    `flax.linen.remat` separates the second computation from the first by a barrier. XLA's compiler
    for CPUs takes barriers away before it orders what there is to do, and then both run on the way
    forwards: longer, and nothing saved. Here the second is of `x` plus a zero that is made of the
    result's gradient, so that it cannot begin before there is one.
    """
    return flax.linen.transforms.lift_transform(_lifted, function)


def _lifted(function):
    def inner(scope_of, variables_of, variables, rngs, x):
        def run(variables, rngs, x):
            scope = scope_of(variables, rngs)
            return function(scope, x), variables_of(scope)

        return _computed_again(run)((variables, rngs), x)

    return flax.core.lift.pack(inner, (True,), (True,), (True,), name="computed_again")


def _computed_again(run: Callable) -> Callable:
    def plain(others, x):
        return run(*others, x)

    def backward(saved, gradient):
        others, x = saved
        x = jax.lax.optimization_barrier(x + zero_after(gradient[0]))
        return jax.vjp(plain, others, x)[1](gradient)

    call = jax.custom_vjp(plain)
    call.defvjp(lambda others, x: (plain(others, x), (others, x)), backward)
    return call
