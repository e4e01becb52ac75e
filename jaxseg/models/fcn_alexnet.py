"""FCN on AlexNet (Long et al. 2015, section 4.1), in the layer order of CaffeNet."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.models.base import SegmentationModel
from jaxseg.models.preprocessing import CAFFE_VGG
from jaxseg.nn.alignment import Grid
from jaxseg.nn.capture import capture
from jaxseg.nn.convolution import ConvBlock
from jaxseg.nn.dropout import Dropout
from jaxseg.nn.fields import scaled
from jaxseg.nn.heads import Head, Score
from jaxseg.nn.sequential import sequential
from jaxseg.ops.normalization import local_response_norm
from jaxseg.ops.pooling import max_pool

_BLOCKS = (  # convolutions (channels, kernel, stride, padding, groups), then pooling; then LRN?
    (((96, 11, 4, None, 1),), True),  # None: the padding of the network
    (((256, 5, 1, 2, 2),), True),
    (((384, 3, 1, 1, 1), (384, 3, 1, 1, 2), (256, 3, 1, 1, 2)), False),
)
_KERNEL = 63  # of the upsampling; an even size would be half a pixel off


class FCNAlexNet(SegmentationModel):
    """FCN-32s on AlexNet as released: grouped convolutions, pooling before normalisation.

    Images may have any size. `features`: pool1, norm1, pool2, norm2, pool5, and `out` of every
    layer.

    Attributes:
      num_classes: C, at least 2.
      width: multiplies the channels of conv1 to fc7; those of conv1 to conv5 stay even.
      fc_channels: channels of fc6 and fc7, before `width`.
      norm: None as published, or "batch" for batch norm after every convolution but the logits.
      padding: zeros around the image before conv1. 100 as published, with an fc6 without padding.
        Below 99 that fc6 would leave the border of the image without logits, so fc6 then has
        padding 3; 0 is the classifier's padding, which is much cheaper on small images.
      dropout: rate after fc6 and fc7 in training.
      remat: as in the base class; it saves no memory on small images, because most blocks have one
        layer.
    """

    num_classes: int
    width: float = 1.0
    fc_channels: int = 4096
    norm: str | None = None
    padding: int = 100
    dropout: float = 0.5

    published = CAFFE_VGG

    @nn.compact
    def network(self, images: jax.Array, train: bool) -> list[Head]:
        """conv1 to fc7, then a 1×1 convolution to logits."""
        x, grid, number = images, Grid(), 0
        for convolutions, normalized in _BLOCKS:
            layers = []
            for channels, kernel, stride, padding, groups in convolutions:
                number += 1
                padding = self.padding if padding is None else padding
                even = 2 * scaled(channels // 2, self.width)
                layers.append(
                    self._conv(
                        f"conv{number}", even, kernel, padding, strides=stride, groups=groups
                    )
                )
                grid = grid.window(kernel, stride, padding)
            x = sequential(self, layers, x, train=train, remat=self.remat)
            x = capture(self, f"pool{number}", max_pool(x, 3, 2, ceil_mode=True))
            grid = grid.window(3, 2)
            if normalized:
                x = capture(self, f"norm{number}", local_response_norm(x))
        hidden = scaled(self.fc_channels, self.width)
        for name, kernel, padding in (("fc6", 6, 0 if self.padding >= 99 else 3), ("fc7", 1, 0)):
            x = self._conv(name, hidden, kernel, padding)()(x, train=train)
            x = Dropout(self.dropout, deterministic=not train)(x)
            grid = grid.window(kernel, padding=padding)
        score = Score(
            self.num_classes,
            kernel_init=nn.initializers.zeros,  # section 4.3
            dtype=self.dtype,
            name="score_fr",
        )(x)
        up = grid.to_image(score.shape[1:3], images.shape[1:3], stride=32, kernel=_KERNEL)
        return [Head(score.astype(jnp.float32), up)]

    def _conv(self, name, features, kernel, padding, **how):
        return functools.partial(
            ConvBlock, features, kernel, padding, self.norm, self.dtype, name=name, **how
        )
