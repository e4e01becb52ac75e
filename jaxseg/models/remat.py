"""Activations that are computed again in the backward pass instead of being kept."""

from collections.abc import Callable

import flax.core.lift
import flax.linen as nn
import flax.linen.transforms
import jax
import jax.numpy as jnp


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
    @jax.custom_vjp
    def call(others, x):
        return run(*others, x)

    def backward(saved, gradient):
        others, x = saved
        leaves, structure = jax.tree.flatten(others)
        floats = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

        def of_floats(chosen, x):
            chosen = iter(chosen)
            pairs = zip(leaves, floats, strict=True)
            mixed = [next(chosen) if is_float else leaf for leaf, is_float in pairs]
            return run(*jax.tree.unflatten(structure, mixed), x)

        known = jnp.minimum(jnp.abs(gradient[0][0, 0, 0, 0]), 0)
        chosen = [leaf for leaf, is_float in zip(leaves, floats, strict=True) if is_float]
        chosen, x = jax.lax.optimization_barrier((chosen, x + known))
        of_chosen, of_x = jax.vjp(of_floats, chosen, x)[1](gradient)
        of_chosen = iter(of_chosen)
        of_others = [next(of_chosen) if is_float else None for is_float in floats]
        return jax.tree.unflatten(structure, of_others), of_x

    call.defvjp(lambda others, x: (run(*others, x), (others, x)), backward)
    return call
