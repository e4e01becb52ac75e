"""FCN on VGG16 (Long et al. 2015): a convolutional classifier that fuses logits across strides."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.models.base import SegmentationModel
from jaxseg.models.preprocessing import CAFFE_VGG
from jaxseg.models.vgg import VGG16, vgg16_grids
from jaxseg.nn.alignment import Grid
from jaxseg.nn.capture import capture
from jaxseg.nn.convolution import ConvBlock
from jaxseg.nn.dropout import Dropout
from jaxseg.nn.fields import check_choice, scaled
from jaxseg.nn.heads import Head, Score
from jaxseg.nn.upsampling import LearnedUpsampling
from jaxseg.ops.upsampling import bilinear_deconv


class FCNVGG16(SegmentationModel):
    """FCN-32s, FCN-16s and FCN-8s as released (section 4.2 of the paper), for images of any size.

    `features`: pool1 to pool5, fuse_pool4 and fuse_pool3, and `out` of every layer.

    Attributes:
      num_classes: C, at least 2.
      stride: 8, 16 or 32: the stride of the finest logits that are fused.
      width: multiplies the channels of conv1_1 to fc7.
      fc_channels: channels of fc6 and fc7, before `width`.
      norm: None as published, or "batch" for batch norm after every convolution but the logits.
      padding: zeros around the image before conv1_1. 100 as published, with an fc6 without padding.
        Below 81 that fc6 would leave the border of the image without logits, so fc6 then has
        padding 3; 1 preserves the size of every layer, which is much cheaper on small images.
      dropout: rate after fc6 and fc7 in training.
      upsampling: of the logits before fusing: "fixed" bilinear (released), or "learned" from a
        bilinear start (section 3.3). The final one, to the image size, is always fixed.
      upscore2_bias: whether the first learned upsampling adds a bias, as in the network of the CVPR
        paper, which was released before the others.
      at_once: whether pool4 and pool3 are scaled by 0.01 and 0.0001 before their logits, so that
        all strides can be trained at once (released "at-once") instead of one network after the
        other.
    """

    num_classes: int
    stride: int = 8
    width: float = 1.0
    fc_channels: int = 4096
    norm: str | None = None
    padding: int = 100
    dropout: float = 0.5
    upsampling: str = "fixed"
    upscore2_bias: bool = False
    at_once: bool = False

    published = CAFFE_VGG

    @nn.compact
    def network(self, images: jax.Array, train: bool) -> list[Head]:
        """conv1_1 to fc7, then a 1×1 convolution to logits, fused with those of pool4 and pool3."""
        check_choice("stride", self.stride, (8, 16, 32))
        check_choice("upsampling", self.upsampling, ("fixed", "learned"))
        vgg = VGG16(self._conv, self.padding, skip_border=self.norm is None, remat=self.remat)
        nn.share_scope(self, vgg)
        pooled, grids = vgg(images, train=train), vgg16_grids(self.padding)

        x, padding = pooled[5].values, 0 if self.padding > 80 else 3
        _check_fc6(images, x, padding)
        x = self._conv("fc6", self.fc_channels, 7, padding)()(x, train=train)
        x = Dropout(self.dropout, deterministic=not train)(x)
        x = self._conv("fc7", self.fc_channels, 1, 0)()(x, train=train)
        x = Dropout(self.dropout, deterministic=not train)(x)
        logits, grid = self._score("score_fr")(x), grids[5].window(7, padding=padding)

        if self.stride <= 16:
            pool4 = pooled[4].values * 0.01 if self.at_once else pooled[4].values
            skip = self._score("score_pool4")(pool4)
            logits, grid = self._fuse("upscore2", logits, grid, skip, grids[4])
            logits = capture(self, "fuse_pool4", logits)
        if self.stride <= 8:
            pool3 = pooled[3].values * 0.0001 if self.at_once else pooled[3].values
            skip = self._score("score_pool3")(pool3)
            logits, grid = self._fuse("upscore_pool4", logits, grid, skip, grids[3])
            logits = capture(self, "fuse_pool3", logits)

        size, image_size = logits.shape[1:3], images.shape[1:3]
        up = grid.to_image(size, image_size, stride=self.stride, kernel=2 * self.stride)
        return [Head(logits.astype(jnp.float32), up)]

    def _conv(self, name: str, channels: int, kernel: int, padding: int, **how: Any) -> Callable:
        """Returns the constructor of a convolution with ReLU."""
        channels = scaled(channels, self.width)
        how |= {"norm": self.norm, "dtype": self.dtype, "name": name}
        return functools.partial(ConvBlock, channels, kernel, padding, **how)

    def _score(self, name: str) -> Score:
        """A 1×1 convolution to logits, initialised to zero (section 4.3)."""
        zeros = nn.initializers.zeros
        return Score(self.num_classes, kernel_init=zeros, dtype=self.dtype, name=name)

    def _fuse(
        self, name: str, logits: jax.Array, grid: Grid, skip: jax.Array, skip_grid: Grid
    ) -> tuple[jax.Array, Grid]:
        """Upsamples `logits` twofold (k4 s2) and adds `skip`, aligned on the image (section 4.2).

        As published, the upsampled logits lie inside the skip's map, which is cropped to them. If
        `padding` preserves the map sizes, they extend beyond it and are cropped instead.
        """
        fine = grid.deconv(4, 2)
        offset = skip_grid.offset_of(fine)
        if offset >= 0:
            size = tuple(2 * n + 2 for n in logits.shape[1:3])
            skip = skip[:, offset : offset + size[0], offset : offset + size[1]]
            return self._upsample(name, logits, size, 0) + skip, fine
        return self._upsample(name, logits, skip.shape[1:3], -offset) + skip, skip_grid

    def _upsample(self, name: str, x: jax.Array, size: tuple[int, int], offset: int) -> jax.Array:
        """`x` at twice its resolution, cropped at `offset` to `size`."""
        if self.upsampling == "learned":
            use_bias = self.upscore2_bias and name == "upscore2"
            return LearnedUpsampling(use_bias, self.dtype, name=name)(x, size, offset)
        return bilinear_deconv(x.shape[1:3], size, stride=2, kernel=4, offset=offset)(x)


def _check_fc6(images: jax.Array, x: jax.Array, padding: int) -> None:
    """Raises InputError if pool5 is smaller than fc6's window."""
    if any(n + 2 * padding < 7 for n in x.shape[1:3]):
        raise InputError(
            f"Images of {images.shape[1]}×{images.shape[2]} are too small: the input of fc6 is "
            f"{x.shape[1]}×{x.shape[2]}.",
            "Use larger images or a larger padding.",
        )
