"""Learned upsampling."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.ops.deconvolution import deconv2d
from jaxseg.ops.upsampling import bilinear_deconv


class LearnedUpsampling(nn.Module):
    """A deconvolution (k4 s2) between all classes, initially the bilinear upsampling of each.

    Attributes:
      use_bias: whether it adds a bias.
      dtype: compute dtype.
    """

    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, int], offset: int) -> jax.Array:
        """[N, h, w, C] to [N, H, W, C]: `size` = (H, W) of the 2 * h + 2 rows, from `offset`."""
        c = x.shape[-1]

        def bilinear(key, shape):
            rows, columns = bilinear_deconv((1, 1), (4, 4), stride=2, kernel=4).matrices()
            return jnp.asarray(rows @ columns.T)[:, :, None, None] * jnp.eye(c)

        kernel = self.param("kernel", bilinear, (4, 4, c, c))
        y = deconv2d(x.astype(self.dtype), kernel.astype(self.dtype), strides=2)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (c,)).astype(self.dtype)
        return y[:, offset : offset + size[0], offset : offset + size[1]]
