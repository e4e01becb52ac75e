"""DeconvNet on VGG16 (Noh, Hong, Han 2015) in plain Flax."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.benchmark.plain.fcn8s import VGG16


class PlainDeconvNet(nn.Module):
    """Maps images [N, H, W, 3] to a list of (logits [N, H, W, C] float32, loss weight)."""

    num_classes: int
    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool):
        """VGG16 with the indices of its maxima, fc6, fc7, and the mirrored layers."""
        x = images.astype(self.dtype)

        def layer(x, features, kernel=3, padding="SAME", kind=nn.Conv):
            window = (kernel, kernel)
            features = round(features * self.width)
            x = kind(features, window, padding=padding, dtype=self.dtype)(x)
            return nn.relu(nn.BatchNorm(not train, momentum=0.9, dtype=self.dtype)(x))

        places = []
        for count, features in VGG16:
            for _ in range(count):
                x = layer(x, features)
            x, place = max_pool_with_place(x)
            places.append(place)
        x = layer(x, 4096, 7, "VALID")
        x = layer(x, 4096, 1, "VALID")
        x = layer(x, 512, 7, "VALID", nn.ConvTranspose)
        for block in range(4, -1, -1):
            x = unpool(x, places[block])
            count, features = VGG16[block]
            for out in [features] * (count - 1) + [VGG16[max(block - 1, 0)][1]]:
                x = layer(x, out, kind=nn.ConvTranspose)
        logits = nn.Conv(self.num_classes, (1, 1), dtype=self.dtype)(x)
        return [(logits.astype(jnp.float32), 1.0)]


def max_pool_with_place(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The maximum of each 2×2 window, and its position, 0..3."""
    n, h, w, c = x.shape
    windows = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
    windows = windows.reshape(n, h // 2, w // 2, c, 4)
    return windows.max(-1), windows.argmax(-1)


def unpool(x: jax.Array, place: jax.Array) -> jax.Array:
    """Writes each value to its position in a 2×2 window of zeros, by a scatter."""
    n, h, w, c = x.shape
    image = jnp.arange(n)[:, None, None, None]
    row = 2 * jnp.arange(h)[None, :, None, None] + place // 2
    column = 2 * jnp.arange(w)[None, None, :, None] + place % 2
    channel = jnp.arange(c)[None, None, None, :]
    empty = jnp.zeros((n, 2 * h, 2 * w, c), x.dtype)
    return empty.at[image, row, column, channel].set(x, unique_indices=True)
