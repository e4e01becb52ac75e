"""Recomputes activations in the backward pass instead of saving them."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from jaxseg.errors import InputError, nearest
from jaxseg.ops.cpu.remat import remat as cpu_remat
from jaxseg.ops.dispatch import dispatch

LAYER = "layer"
"""The `jax.ad_checkpoint.checkpoint_name` of each layer's output inside `jaxseg.nn.sequential`."""

_policies = jax.checkpoint_policies
POLICIES: dict[str, Callable[[], Callable]] = {
    "nothing_saveable": lambda: _policies.nothing_saveable,
    "everything_saveable": lambda: _policies.everything_saveable,
    "dots_saveable": lambda: _policies.dots_saveable,
    "dots_with_no_batch_dims_saveable": lambda: _policies.dots_with_no_batch_dims_saveable,
    "offload_dot_with_no_batch_dims": lambda: _policies.offload_dot_with_no_batch_dims(
        "device", "pinned_host"
    ),
    "save_only_these_names": lambda: _policies.save_only_these_names(LAYER),
    "save_and_offload_only_these_names": lambda: _policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[LAYER],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}
"""The `jax.checkpoint_policies` that a network's field `remat` accepts. Names are `LAYER`."""


def remat(
    function: Callable[[Any, jax.Array], Any], policy: bool | str = True
) -> Callable[[Any, jax.Array], Any]:
    """`jax.checkpoint` of `function(others, x)`, in a form that also saves memory on a CPU.

    Args:
      function: a function of a pytree and an array.
      policy: what is saved. True: only the arguments; False: everything; one of `POLICIES`: the
        policy of `jax.checkpoint`, on every platform.

    Raises:
      InputError: `policy` is an unknown name.

    >>> import jax.numpy as jnp
    >>> double = remat(lambda scale, x: scale * x)
    >>> double(jnp.float32(2), jnp.ones(1)).tolist()
    [2.0]
    """
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise InputError(f"remat is {policy!r}.", nearest(policy, POLICIES))
        return jax.checkpoint(function, policy=POLICIES[policy]())
    if not policy:
        return function
    kept, again = jax.checkpoint(function), functools.partial(cpu_remat, function)
    return lambda others, x: dispatch("remat", others, x, reference=kept, cpu=again)
