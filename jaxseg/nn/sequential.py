"""Layers in sequence, optionally recomputed in the backward pass."""

from collections.abc import Callable, Sequence

import flax.core.lift
import flax.linen as nn
import flax.linen.transforms
import jax
from jax.ad_checkpoint import checkpoint_name

from jaxseg.nn.capture import capture
from jaxseg.ops.remat import LAYER, remat


def sequential(
    module: nn.Module,
    layers: Sequence[Callable],
    x: jax.Array,
    *,
    train: bool,
    remat: bool | str = False,
) -> jax.Array:
    """Applies `layers` to `x` in sequence; their parameters belong to `module`.

    Args:
      module: the network, inside a compact method.
      layers: constructors of modules, such as `functools.partial(ConvBlock, 64, name="conv1_1")`,
        which take (x, train=...).
      x: [N, h, w, C].
      train: passed to each layer.
      remat: what is saved for the backward pass. True: only `x`; False: everything; a string: the
        name of a policy (see `jaxseg.ops.remat`).
    """

    def run(module, x):
        for layer in layers:
            x = layer(parent=module)(x, train=train)
            if isinstance(remat, str):
                x = checkpoint_name(x, LAYER)
        return x

    return _lifted_remat(run, remat)(module, x) if remat else run(module, x)


def function_layer(name: str, function: Callable[[jax.Array], jax.Array]) -> Callable:
    """`function` as a layer without parameters for `sequential`; captures its result as `name`."""
    return lambda parent: lambda x, train: capture(parent, name, function(x))


def _lifted_remat(function: Callable, policy: bool | str) -> Callable:
    """`jaxseg.ops.remat` for a function of a module and an array."""

    def lift(function):
        def inner(scope_of, variables_of, variables, rngs, x):
            def run(others, x):
                scope = scope_of(*others)
                return function(scope, x), variables_of(scope)

            return remat(run, policy)((variables, rngs), x)

        return flax.core.lift.pack(inner, (True,), (True,), (True,), name="remat")

    return flax.linen.transforms.lift_transform(lift, function)
