"""The initial carry of a loop inside `jax.shard_map`, where arrays vary between devices."""

from typing import Any

import jax


def varying_as(init: Any, *arrays: Any) -> Any:
    """`init`, with its arrays marked as varying between devices if any of `arrays` varies.

    The carry of a loop must be marked from the start. Outside `jax.shard_map`, nothing changes.

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
    # newer versions of JAX use the first name again
    return frozenset(kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying)
