"""FCN on VGG16 (Long et al. 2015): a convolutional classifier, scores fused across strides."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.models.preprocessing import CAFFE_VGG, Preprocessing, chosen
from jaxseg.models.vgg import VGG16
from jaxseg.nn.border import Block, blocks_within
from jaxseg.nn.grid import Grid
from jaxseg.nn.layers import (
    ConvBlock,
    Head,
    Score,
    check_choice,
    check_images,
    in_turn,
    scaled,
    tap,
)
from jaxseg.ops.deconvolution import deconv2d
from jaxseg.ops.late_gradient import gradient_after
from jaxseg.ops.pooling import max_pool
from jaxseg.ops.upsampling import bilinear_deconv

_SKIPS = (  # (stride, pool, upsampling before it is fused, scale of the pool in FCN-8s at-once)
    (16, 4, "upscore2", 0.01),
    (8, 3, "upscore_pool4", 0.0001),
)


class FCNVGG16(nn.Module):
    """FCN-32s, FCN-16s and FCN-8s as released (section 4.2 of the paper).

    `apply(variables, images)` takes images [N, H, W, 3] floating point, RGB, normalised, of any
    size, and gives logits [N, H, W, num_classes] float32. `method="heads"` gives the coarse `Head`
    instead. `features`: pool1 to pool5, fuse_pool4 and fuse_pool3, and `out` of every layer.

    Attributes:
      num_classes: C, at least 2.
      stride: 8, 16 or 32: the stride of the finest scores that are fused.
      width: multiplies the channels of conv1_1 to fc7.
      fc_channels: channels of fc6 and fc7, before `width`.
      norm: None as published, or "batch" for batch norm after every convolution but the scores.
      padding: zeros around the image before conv1_1. 100 as published, with an fc6 that does not
        pad. Below 81 that fc6 would leave the image's border without scores, so there fc6 pads by 3
        and covers it; 1 makes every layer keep its size, which is far cheaper on small images.
        Rows of the border that are all alike are worked out once (see `jaxseg.nn.border`).
      dropout: rate after fc6 and fc7 in training.
      upsampling: of the scores before they are fused: "fixed" bilinear (released), or "learned"
        from a bilinear start (section 3.3). The last one, to the image, is always fixed.
      upscore2_bias: whether the first learned upsampling adds a bias, as in the network of the CVPR
        paper, which was released before the others.
      at_once: whether pool4 and pool3 are scaled by 0.01 and 0.0001 before they are scored, so that
        all scores can be trained at once (released "at-once"), not one network after the other.
      normalization: what the weights expect of their input, one of `preprocessing.NORMALIZATIONS`;
        None for that of the released ones.
      remat: whether a block's activations are computed again in the backward pass, not kept.
      dtype: of the computation; parameters, statistics and logits are float32.
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
    normalization: str | None = None
    remat: bool = False
    dtype: Any = jnp.float32

    @property
    def preprocessing(self) -> Preprocessing:
        """The normalisation that the weights expect."""
        return chosen(self.normalization, CAFFE_VGG)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits at the image's resolution, [N, H, W, num_classes] float32."""
        return self.heads(images, train=train)[0].upsampled()

    @nn.compact
    def heads(self, images: jax.Array, *, train: bool = False) -> list[Head]:
        """The coarse scores, and the cropped deconvolution that brings them to the image's size."""
        check_images(images)
        check_choice("stride", self.stride, (8, 16, 32))
        check_choice("upsampling", self.upsampling, ("fixed", "learned"))
        x, grid = images, Grid()
        pooled = {}
        borders = self._borders()
        fc6_padding, late = 0 if self.padding > 80 else 3, None
        for (block, convolutions, channels), border in zip(VGG16, borders, strict=True):
            layers = []
            for i in range(1, convolutions + 1):
                padding = self.padding if (block, i) == (1, 1) else 1
                grid = grid.window(3, padding=padding)
                if (block, i) == (1, 1):
                    padding -= border.left_out
                layers.append(self._conv(f"conv{block}_{i}", channels, 3, padding))
            run = functools.partial(in_turn, self, train=train, remat=self.remat)
            if block == 1 and train:
                x, late = self._late_fc6(run(layers[:1], x), images.shape, fc6_padding)
                layers = layers[1:]
            x = run(layers, x)
            x = border.widened(max_pool(x, 2, 2, ceil_mode=True))
            x, grid = tap(self, f"pool{block}", x), grid.pool()
            pooled[block] = x, grid

        if any(n + 2 * fc6_padding < 7 for n in x.shape[1:3]):
            raise InputError(
                f"Images of {images.shape[1]}×{images.shape[2]} leave fc6 "
                f"a map of {x.shape[1]}×{x.shape[2]}.",
                "Give larger images, or a larger padding.",
            )
        x = self._conv("fc6", self.fc_channels, 7, fc6_padding)()(x, train=train, late=late)
        grid = grid.window(7, padding=fc6_padding)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = self._conv("fc7", self.fc_channels, 1, 0)()(x, train=train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        score = self._score("score_fr")(x)
        for stride, block, upscore, scale in _SKIPS:
            if stride >= self.stride:
                skip, skip_grid = pooled[block]
                skip = self._score(f"score_pool{block}")(skip * scale if self.at_once else skip)
                score, grid = self._fuse(score, grid, skip, skip_grid, upscore)
                score = tap(self, f"fuse_pool{block}", score)

        up = grid.to_image(
            score.shape[1:3], images.shape[1:3], stride=self.stride, kernel=2 * self.stride
        )
        return [Head(score.astype(jnp.float32), up)]

    def _late_fc6(self, x, images, padding):
        """`x`, after whose gradient fc6's kernel gets its own, and what tells fc6 so."""
        if self.is_initializing():
            return x, None
        kernel = self.get_variable("params", "fc6")["kernel"].astype(self.dtype)
        sizes = (-(-(n + 2 * self.padding - 2) // 32) for n in images[1:3])
        return gradient_after(x, kernel, (len(x), *sizes, kernel.shape[2]), padding)

    def _borders(self):
        """What the blocks leave out of the border: nothing where somebody looks at their maps."""
        looks = self.is_mutable_collection("features") or "extents" in self.variables
        if self.norm is not None or looks:  # batch norm counts every cell
            return [Block()] * len(VGG16)
        return blocks_within(self.padding, [convolutions for _, convolutions, _ in VGG16])

    def _conv(self, name, channels, kernel, padding):
        return functools.partial(
            ConvBlock,
            scaled(channels, self.width),
            kernel,
            padding,
            self.norm,
            self.dtype,
            name=name,
        )

    def _score(self, name):
        zeros = nn.initializers.zeros  # section 4.3: the scores start at zero
        return Score(self.num_classes, (1, 1), kernel_init=zeros, dtype=self.dtype, name=name)

    def _fuse(self, score, grid, skip, skip_grid, name):
        """Upsamples `score` twice (k4 s2), adds `skip` where both lie on the image (section 4.2).

        As published the upsampled scores lie inside the skip's map, which is cropped to them. Where
        the network keeps its size they reach beyond it, and are themselves cropped.
        """
        fine = grid.deconv(4, 2)
        offset = skip_grid.offset_of(fine)
        if offset >= 0:
            size = tuple(2 * n + 2 for n in score.shape[1:3])
            skip = skip[:, offset : offset + size[0], offset : offset + size[1]]
            return self._twice(score, size, 0, name) + skip, fine
        return self._twice(score, skip.shape[1:3], -offset, name) + skip, skip_grid

    def _twice(self, score, size, offset, name):
        """`score` at twice its resolution, cropped at `offset` to `size`."""
        if self.upsampling == "learned":
            bias = self.upscore2_bias and name == "upscore2"
            return LearnedUpsampling(bias, self.dtype, name=name)(score, size, offset)
        return bilinear_deconv(score.shape[1:3], size, stride=2, kernel=4, offset=offset)(score)


class LearnedUpsampling(nn.Module):
    """A deconvolution (k4 s2) between all classes, which starts as the bilinear one of each."""

    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, int], offset: int) -> jax.Array:
        """[N, h, w, C] to [N, H, W, C]: `size` = (H, W) of the 2 * h + 2 rows, from `offset` on."""
        c = x.shape[-1]

        def bilinear(key, shape):
            rows, columns = bilinear_deconv((1, 1), (4, 4), stride=2, kernel=4).matrices()
            return jnp.asarray(rows @ columns.T)[:, :, None, None] * jnp.eye(c)

        kernel = self.param("kernel", bilinear, (4, 4, c, c))
        y = deconv2d(x.astype(self.dtype), kernel.astype(self.dtype), strides=2)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (c,)).astype(self.dtype)
        return y[:, offset : offset + size[0], offset : offset + size[1]]
