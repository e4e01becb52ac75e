"""FCN on VGG16 (Long et al. 2015): a convolutional classifier, scores fused across strides."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.models.grid import Grid
from jaxseg.models.layers import ConvBlock, Head, check_images, scaled
from jaxseg.models.preprocessing import CAFFE_VGG, Preprocessing
from jaxseg.ops.pooling import max_pool
from jaxseg.ops.upsampling import bilinear_deconv

_VGG16 = (  # (block, convolutions, channels)
    (1, 2, 64),
    (2, 2, 128),
    (3, 3, 256),
    (4, 3, 512),
    (5, 3, 512),
)


class FCNVGG16(nn.Module):
    """FCN-32s, FCN-16s and FCN-8s as released (section 4.2 of the paper).

    `apply(variables, images)` takes images [N, H, W, 3] floating point, RGB, normalised, of any
    size, and gives logits [N, H, W, num_classes] float32. `method="heads"` gives the coarse `Head`
    instead.

    Attributes:
      num_classes: C, at least 2.
      stride: 8, 16 or 32: the stride of the finest scores that are fused.
      width: multiplies the channels of conv1_1 to fc7.
      fc_channels: channels of fc6 and fc7, before `width`.
      norm: None as published, or "batch" for batch norm after every convolution but the scores.
      padding: zeros around the image before conv1_1. 100 as published, with an fc6 that does not
        pad. Below 81 that fc6 would leave the image's border without scores, so there fc6 pads by 3
        and covers it; 1 makes every layer keep its size, which is far cheaper on small images.
      dropout: rate after fc6 and fc7 in training.
      dtype: of the computation; parameters, statistics and logits are float32.
    """

    num_classes: int
    stride: int = 8
    width: float = 1.0
    fc_channels: int = 4096
    norm: str | None = None
    padding: int = 100
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @property
    def preprocessing(self) -> Preprocessing:
        """The normalisation that the released weights expect."""
        return CAFFE_VGG

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits at the image's resolution, [N, H, W, num_classes] float32."""
        return self.heads(images, train=train)[0].upsampled()

    @nn.compact
    def heads(self, images: jax.Array, *, train: bool = False) -> list[Head]:
        """The coarse scores, and the cropped deconvolution that brings them to the image's size."""
        check_images(images)
        x, grid = images, Grid()
        pooled = {}
        for block, convolutions, channels in _VGG16:
            for i in range(1, convolutions + 1):
                padding = self.padding if (block, i) == (1, 1) else 1
                x = self._conv(f"conv{block}_{i}", channels, 3, padding, train)(x)
                grid = grid.window(3, padding=padding)
            x, grid = max_pool(x, 2, 2, ceil_mode=True), grid.pool()
            pooled[2**block] = x, grid

        padding = 0 if self.padding > 80 else 3
        if min(x.shape[1:3]) + 2 * padding < 7:
            raise InputError(
                f"Images of {images.shape[1]}×{images.shape[2]} leave fc6 "
                f"a map of {x.shape[1]}×{x.shape[2]}.",
                "Give larger images, or a larger padding.",
            )
        x, grid = (
            self._conv("fc6", self.fc_channels, 7, padding, train)(x),
            grid.window(7, padding=padding),
        )
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = self._conv("fc7", self.fc_channels, 1, 0, train)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        score = self._score("score_fr")(x)
        for stride, name in ((16, "score_pool4"), (8, "score_pool3")):
            if stride >= self.stride:
                skip, skip_grid = pooled[stride]
                score, grid = _fuse(score, grid, self._score(name)(skip), skip_grid)

        kernel = 2 * self.stride
        offset = grid.deconv(kernel, self.stride).offset_of(Grid())
        up = bilinear_deconv(
            score.shape[1:3], images.shape[1:3], stride=self.stride, kernel=kernel, offset=offset
        )
        return [Head(score.astype(jnp.float32), up)]

    def _conv(self, name, channels, kernel, padding, train):
        block = ConvBlock(
            scaled(channels, self.width), kernel, padding, self.norm, self.dtype, name=name
        )
        return lambda x: block(x, train=train)

    def _score(self, name):
        zeros = nn.initializers.zeros  # section 4.3: the scores start at zero
        return nn.Conv(self.num_classes, (1, 1), kernel_init=zeros, dtype=self.dtype, name=name)


def _fuse(score, grid, skip, skip_grid):
    """Upsamples `score` twice (k4 s2) and adds `skip` where both lie on the image (section 4.2).

    As published the upsampled scores lie inside the skip's map, which is cropped to them. Where the
    network keeps its size they reach beyond it, and are themselves cropped.
    """
    fine = grid.deconv(4, 2)
    offset = skip_grid.offset_of(fine)
    if offset >= 0:
        size = tuple(2 * n + 2 for n in score.shape[1:3])
        score = bilinear_deconv(score.shape[1:3], size, stride=2, kernel=4)(score)
        skip = skip[:, offset : offset + size[0], offset : offset + size[1]]
        return score + skip, fine
    up = bilinear_deconv(score.shape[1:3], skip.shape[1:3], stride=2, kernel=4, offset=-offset)
    return up(score) + skip, skip_grid
