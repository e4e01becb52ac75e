"""Dropout that also works where images are split over a mesh with Explicit axes."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """`flax.linen.Dropout`, the same random numbers; its mask is laid out as the input is.

    Attributes:
      rate: the probability that a value is dropped, 0 or more, below 1.
      broadcast_dims: axes along which one draw counts for all.
      deterministic: whether nothing is dropped.
    """

    rate: float
    broadcast_dims: tuple[int, ...] = ()
    deterministic: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`x`, scaled by 1 / (1 - rate) where it is kept, 0 elsewhere."""
        if self.rate == 0.0 or self.deterministic:
            return x
        keep = 1.0 - self.rate
        shape = [1 if i in self.broadcast_dims else n for i, n in enumerate(x.shape)]
        mask = jax.random.bernoulli(self.make_rng("dropout"), p=keep, shape=shape)
        mask = jnp.broadcast_to(mask, x.shape)
        sharding = jax.typeof(x).sharding
        if not sharding.mesh.empty and sharding.mesh.are_all_axes_explicit:
            mask = jax.sharding.reshard(mask, sharding)
        return jax.lax.select(mask, x / keep, jnp.zeros_like(x))
