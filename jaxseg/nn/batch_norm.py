"""Batch normalisation with running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.ops.batch_norm import batch_norm, normalized


class BatchNorm(nn.Module):
    """Normalises by the batch's statistics in training, by the running statistics otherwise.

    Its variables have the names and shapes of `flax.linen.BatchNorm`'s: parameters `scale` and
    `bias`, and in "batch_stats" `mean` and `var`, the biased variance. See `batch_norm`.

    Attributes:
      momentum: weight of the old value when a running statistic is updated.
      epsilon: added to a variance before the square root.
      shift: initial value of `bias`.
      fast_variance: as in `batch_norm`.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    shift: float = 0.0
    fast_variance: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[N, h, w, C] to the same shape and dtype, computed in float32."""
        shape = (x.shape[-1],)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.constant(self.shift), shape)
        if not train:
            return normalized(x, mean.value, var.value, scale, bias, self.epsilon)
        y, *found = batch_norm(x, scale, bias, self.epsilon, self.fast_variance)
        if not self.is_initializing():
            for kept, new in zip((mean, var), found, strict=True):
                kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        return y
