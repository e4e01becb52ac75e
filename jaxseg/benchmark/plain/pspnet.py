"""PSPNet-50 (Zhao, Shi, Qi, Wang, Jia 2017) in plain Flax."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

STAGES = ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 1, 2), (3, 512, 1, 4))
"""Blocks, planes, strides and dilation of ResNet-50's four stages at an output stride of 8."""


class PlainPSPNet50(nn.Module):
    """Maps images [N, H, W, 3] to a list of (logits [N, H, W, C] float32, loss weight)."""

    num_classes: int
    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool):
        """A dilated ResNet, pyramid pooling, the head, and the auxiliary head in training."""
        size, x = images.shape[1:3], images.astype(self.dtype)

        def conv(x, features, kernel=1, strides=1, dilation=1, relu=True):
            x = nn.Conv(
                features,
                (kernel, kernel),
                strides,
                dilation * (kernel // 2),
                kernel_dilation=dilation,
                use_bias=False,
                dtype=self.dtype,
            )(x)
            x = nn.BatchNorm(not train, momentum=0.9, dtype=self.dtype)(x)
            return nn.relu(x) if relu else x

        def head(x, features):
            x = conv(x, features, 3)
            x = nn.Dropout(0.1, broadcast_dims=(1, 2), deterministic=not train)(x)
            x = nn.Conv(self.num_classes, (1, 1), dtype=self.dtype)(x).astype(jnp.float32)
            return jax.image.resize(x, (x.shape[0], *size, self.num_classes), "bilinear")

        for features, strides in ((64, 2), (64, 1), (128, 1)):
            x = conv(x, round(features * self.width), 3, strides)
        x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
        stages = []
        for blocks, planes, strides, dilation in STAGES:
            planes = round(planes * self.width)
            for i in range(blocks):
                stride = strides if i == 0 else 1
                y = conv(x, planes)
                y = conv(y, planes, 3, stride, dilation)
                y = conv(y, 4 * planes, relu=False)
                x = nn.relu(y + (conv(x, 4 * planes, 1, stride, relu=False) if i == 0 else x))
            stages.append(x)

        n, h, w, c = x.shape
        levels = [x]
        for bins in (1, 2, 3, 6):
            y = x.reshape(n, bins, h // bins, bins, w // bins, c).mean((2, 4))
            levels.append(jax.image.resize(conv(y, c // 4), (n, h, w, c // 4), "bilinear"))
        heads = [(head(jnp.concatenate(levels, -1), c // 4), 1.0)]
        if train or self.is_initializing():
            heads.append((head(stages[2], stages[2].shape[-1] // 4), 0.4))
        return heads
