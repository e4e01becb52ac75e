"""The start of a loop inside `jax.shard_map`, where arrays are known to differ between devices."""

from typing import Any

import jax


def varying_as(init: Any, *arrays: Any) -> Any:
    """`init`, whose arrays are marked as different on each device where any of `arrays` is.

    A loop's carry has to be so from its start. Outside of `jax.shard_map` nothing changes.

    >>> import jax.numpy as jnp
    >>> varying_as(jnp.float32(0), jnp.ones(3)).tolist()
    0.0
    """
    axes = frozenset().union(*map(_axes, jax.tree.leaves(arrays)))
    if not axes:
        return init

    def mark(a: Any) -> Any:
        missing = tuple(sorted(axes - _axes(a)))
        return jax.lax.pcast(a, missing, to="varying") if missing else a

    return jax.tree.map(mark, init)


def _axes(array: Any) -> frozenset[str]:
    kind = jax.typeof(array)
    # newer versions of JAX call it by its first name again
    return frozenset(kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying)
