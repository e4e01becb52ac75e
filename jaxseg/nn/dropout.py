"""Dropout that also works on meshes with Explicit axes."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """`flax.linen.Dropout` with the same random numbers; its mask has the sharding of the input.

    Attributes:
      rate: probability that a value is dropped: 0 or more, below 1.
      broadcast_dims: axes along which all values share one draw.
      deterministic: whether to drop nothing.
    """

    rate: float
    broadcast_dims: tuple[int, ...] = ()
    deterministic: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`x` / (1 - rate) at the kept values, 0 elsewhere."""
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
