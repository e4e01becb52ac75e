"""FCN-8s on VGG16 (Long, Shelhamer, Darrell 2015) in plain Flax."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


class PlainFCN8s(nn.Module):
    """Maps images [N, H, W, 3] to a list of (logits [N, H, W, C] float32, loss weight)."""

    num_classes: int
    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool):
        """VGG16 with a border of 100 pixels, fc6, fc7, and fused logits of fc7, pool4 and pool3."""
        size, x = images.shape[1:3], images.astype(self.dtype)
        conv = functools.partial(nn.Conv, dtype=self.dtype)
        pools = []
        for block, (count, features) in enumerate(VGG16):
            for i in range(count):
                padding = 100 if (block, i) == (0, 0) else 1
                x = nn.relu(conv(round(features * self.width), (3, 3), padding=padding)(x))
            odd = [(0, n % 2) for n in x.shape[1:3]]  # Caffe rounds sizes up
            x = nn.max_pool(x, (2, 2), (2, 2), odd)
            pools.append(x)
        for kernel in (7, 1):
            features = round(4096 * self.width)
            x = nn.relu(conv(features, (kernel, kernel), padding="VALID")(x))
            x = nn.Dropout(0.5, deterministic=not train)(x)
        logits = conv(self.num_classes, (1, 1))(x)
        for pool in (pools[3], pools[2]):
            n, h, w, c = logits.shape
            skip, offset = conv(c, (1, 1))(pool), (pool.shape[1] - 2 * h) // 2
            logits = jax.image.resize(logits, (n, 2 * h, 2 * w, c), "bilinear")
            logits += skip[:, offset : offset + 2 * h, offset : offset + 2 * w]
        n, h, w, c = logits.shape
        logits = jax.image.resize(logits.astype(jnp.float32), (n, 8 * h, 8 * w, c), "bilinear")
        top, left = (8 * h - size[0]) // 2, (8 * w - size[1]) // 2
        return [(logits[:, top : top + size[0], left : left + size[1]], 1.0)]
