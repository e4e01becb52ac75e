"""Intermediate arrays of a network, for whoever asks for them by name.

A network captures an array under a name (`capture`). `jaxseg.features` gives the captured arrays:
they are variables of the collection "features", which nothing else makes mutable.
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

    Where the variables say which part of the array belongs to each image (see `extent`), the rest
    becomes zero first, also in what is returned.

    Args:
      module: whose array it is.
      name: of the array inside the module.
      x: [N, h, w, C].
      shown: what to capture; the network itself does not need it.
    """
    if module.is_initializing():  # it is no variable of the network
        return x
    x = within(x, extent(module, name))
    if module.is_mutable_collection("features"):
        store = {"reduce_fn": lambda _, new: new, "init_fn": lambda: None}
        module.sow("features", name, shown(x), **store)
    return x


def extent(module: nn.Module, name: str) -> jax.Array | None:
    """[N, 2] int32: rows and columns of each image in the array captured as `name`; None: all.

    Images of several sizes share a batch where the collection "extents" has such an array for every
    captured array (see `jaxseg.inference.padding`). The next layer then sees zeros beyond an image,
    as it does at the border of one that is alone. Max pooling would see minus infinity there, but
    pools the output of a ReLU.
    """
    return module.get_variable("extents", name) if module.has_variable("extents", name) else None


def within(x: jax.Array, extent: jax.Array | None) -> jax.Array:
    """[N, h, w, C] with zeros outside of each image's rows and columns, `extent` [N, 2]."""
    if extent is None:
        return x
    rows = jnp.arange(x.shape[1])[None, :, None, None] < extent[:, 0, None, None, None]
    columns = jnp.arange(x.shape[2])[None, None, :, None] < extent[:, 1, None, None, None]
    return jnp.where(rows & columns, x, 0)
