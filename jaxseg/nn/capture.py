"""Captures intermediate arrays of a network by name.

A network captures an array under a name (`capture`), and `jaxseg.features` returns the captured
arrays. They are variables of the collection "features", which is mutable only there.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


def capture(
    module: nn.Module,
    name: str,
    x: jax.Array,
    shown: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> jax.Array:
    """Captures `shown(x)` under `name`, and returns `x`.

    If the variables define which part of the array belongs to each image (see `extent`), the rest
    is set to zero first, also in the returned array.

    Args:
      module: the module that computes the array.
      name: name of the array inside the module.
      x: [N, h, w, C].
      shown: computes the captured array from `x`; the network itself does not use its result.
    """
    if module.is_initializing():  # captured arrays are not variables of the network
        return x
    x = within(x, extent(module, name))
    if module.is_mutable_collection("features"):
        store = {"reduce_fn": lambda _, new: new, "init_fn": lambda: None}
        module.sow("features", name, shown(x), **store)
    return x


def extent(module: nn.Module, name: str) -> jax.Array | None:
    """[N, 2] int32: rows and columns of each image in the array captured as `name`; None: all.

    Images of different sizes share a batch if the collection "extents" has such an array for every
    captured array (see `jaxseg.inference.padding`). The next layer then reads zeros beyond an
    image, as at the border of an image alone in a batch. Max pooling would read minus infinity
    there, but it pools the output of a ReLU, so that zeros give the same result.
    """
    return module.get_variable("extents", name) if module.has_variable("extents", name) else None


def within(x: jax.Array, extent: jax.Array | None) -> jax.Array:
    """[N, h, w, C], set to zero outside each image's rows and columns, `extent` [N, 2]."""
    if extent is None:
        return x
    rows = jnp.arange(x.shape[1])[None, :, None, None] < extent[:, 0, None, None, None]
    columns = jnp.arange(x.shape[2])[None, None, :, None] < extent[:, 1, None, None, None]
    return jnp.where(rows & columns, x, 0)
