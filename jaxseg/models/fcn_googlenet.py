"""FCN on GoogLeNet (Long et al. 2015, section 4.1; Szegedy et al. 2015), never released.

The backbone is Caffe's classifier (bvlc_googlenet) up to inception 5b, without average pooling and
auxiliary classifiers. The paper does not define the alignment of image and logits. With conv1's
padding of 3, a kernel of 63 is centred on whole pixels.
"""

import functools
from typing import Any

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
from jaxseg.nn.sequential import function_layer, sequential
from jaxseg.ops.normalization import local_response_norm
from jaxseg.ops.pooling import max_pool

_INCEPTIONS = (  # channels: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, projection after the pooling
    ("3a", (64, 96, 128, 16, 32, 32)),
    ("3b", (128, 128, 192, 32, 96, 64)),
    ("4a", (192, 96, 208, 16, 48, 64)),
    ("4b", (160, 112, 224, 24, 64, 64)),
    ("4c", (128, 128, 256, 24, 64, 64)),
    ("4d", (112, 144, 288, 32, 64, 64)),
    ("4e", (256, 160, 320, 32, 128, 128)),
    ("5a", (256, 160, 320, 32, 128, 128)),
    ("5b", (384, 192, 384, 48, 128, 128)),
)
_KERNEL = 63  # of the upsampling


class FCNGoogLeNet(SegmentationModel):
    """FCN-32s on GoogLeNet: inception modules with local response normalisation.

    Images have at least 31×31 pixels. `features`: pool1, norm1, norm2, pool2 to pool4, inception_3a
    to inception_5b (`joined`), and `out` of every layer.

    Attributes:
      num_classes: C, at least 2.
      width: multiplies the channels of every hidden layer.
      norm: None as published, or "batch" for batch norm after every convolution but the logits.
      dropout: rate before the logits in training.
      remat: as in the base class; a block is an inception, or the layers before one of the first
        two poolings.
    """

    num_classes: int
    width: float = 1.0
    norm: str | None = None
    dropout: float = 0.4

    published = CAFFE_VGG

    @nn.compact
    def network(self, images: jax.Array, train: bool) -> list[Head]:
        """conv1 to inception 5b, then a 1×1 convolution to logits."""
        grid = Grid().window(7, 2, 3)
        run = functools.partial(sequential, self, train=train, remat=self.remat)
        x = run([self._conv("conv1", 64, 7, 3, strides=2), _pool(1)], images)
        grid = grid.window(3, 2)
        reduce, conv = self._conv("conv2_reduce", 64, 1, 0), self._conv("conv2", 192, 3, 1)
        x = run([_norm(1), reduce, conv, _norm(2), _pool(2)], x)
        grid = grid.window(3, 2)
        for name, channels in _INCEPTIONS:
            widths = tuple(scaled(c, self.width) for c in channels)
            inception = functools.partial(
                Inception, widths, self.norm, self.dtype, name=f"inception_{name}"
            )
            if name in ("3b", "4e"):
                x = run([inception, _pool(int(name[0]))], x)
                grid = grid.window(3, 2)
            else:
                x = run([inception], x)
        x = Dropout(self.dropout, deterministic=not train)(x)
        score = Score(
            self.num_classes,
            kernel_init=nn.initializers.zeros,  # section 4.3
            dtype=self.dtype,
            name="score_fr",
        )(x)
        up = grid.to_image(score.shape[1:3], images.shape[1:3], stride=32, kernel=_KERNEL)
        return [Head(score.astype(jnp.float32), up)]

    def _conv(self, name, channels, kernel, padding, **how):
        features = scaled(channels, self.width)
        return functools.partial(
            ConvBlock, features, kernel, padding, self.norm, self.dtype, name=name, **how
        )


def _pool(number):
    pool = functools.partial(max_pool, window=3, strides=2, ceil_mode=True)
    return function_layer(f"pool{number}", pool)


def _norm(number):
    return function_layer(f"norm{number}", local_response_norm)


class Inception(nn.Module):
    """Four parallel branches: 1×1, 3×3 and 5×5 convolutions, and 3×3 pooling.

    `features` are the channels of 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5 and the projection.
    """

    features: tuple[int, ...]
    norm: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """[N, h, w, C] to [N, h, w, C'], the branches' channels in the order named above."""
        conv = functools.partial(ConvBlock, norm=self.norm, dtype=self.dtype)
        one, reduce3, three, reduce5, five, projection = self.features
        branches = [
            conv(one, 1, 0, name="1x1")(x, train=train),
            conv(three, 3, 1, name="3x3")(
                conv(reduce3, 1, 0, name="3x3_reduce")(x, train=train), train=train
            ),
            conv(five, 5, 2, name="5x5")(
                conv(reduce5, 1, 0, name="5x5_reduce")(x, train=train), train=train
            ),
            conv(projection, 1, 0, name="pool_proj")(max_pool(x, 3, 1, 1), train=train),
        ]
        return capture(self, "joined", jnp.concatenate(branches, axis=-1))
