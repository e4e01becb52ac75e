"""PSPNet (Zhao et al. 2017): a dilated ResNet whose features are pooled at several scales."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.models.preprocessing import CAFFE_PSPNET, IMAGENET, Preprocessing, chosen
from jaxseg.models.resnet import ResNet
from jaxseg.nn.layers import (
    ConvNorm,
    Head,
    ScoreHead,
    check_choice,
    check_images,
    extent,
    scaled,
    tap,
)
from jaxseg.ops.adaptive import adaptive_avg_pools, adaptive_max_pool
from jaxseg.ops.conv_of_resized import Resized
from jaxseg.ops.upsampling import align_corners, half_pixel, resizing


class PSPNet(nn.Module):
    """PSPNet with its auxiliary head (sections 3.2 and 3.3 of the paper).

    `apply(variables, images)` takes images [N, H, W, 3] floating point, RGB, normalised, and gives
    logits [N, H, W, num_classes] float32. `method="heads"` gives the coarse `Head` instead, and
    with `train=True` the auxiliary one after it.

    Any size will do. With `output_stride` * n + 1 pixels, such as the published 473 and 713, the
    cells lie exactly that stride apart, the first and last on the image's first and last pixel. At
    other sizes the scores are stretched from corner to corner all the same, which moves them by
    less than a cell.

    mmsegmentation's PSPNet has `stem="v1c"` and `dilate_first=False`, and unless it was trained on
    crops of 769×769, `align_corners=False`. With `stem="7x7"` a network can start from
    torchvision's ImageNet ResNets.

    Attributes:
      num_classes: C, at least 2.
      depth: of the trunk, as in `ResNet`: 50, 101, 152 or 269.
      width: multiplies the channels of every hidden layer.
      output_stride: 8, 16 or 32 pixels of the image to a cell of the scores.
      bins: windows along each axis for each level of the pyramid; () leaves the pyramid out (the
        paper's baseline).
      pooling: "avg" or "max".
      reduce: whether a 1×1 convolution reduces each level to 1 / len(bins) of the channels (the
        paper's DR).
      stem: "deep", "v1c" or "7x7", as in `ResNet`.
      stride_on: the convolution that strides: "3x3" as in semseg, or "1x1" as in the released Caffe
        models. Those also take their images unscaled, see `preprocessing`.
      dilate_first: as in `ResNet`.
      align_corners: whether the pyramid's levels and the scores are resized from corner to corner,
        or take pixels as squares.
      aux_weight: what the auxiliary head's loss counts.
      dropout: rate before each head's scores in training.
      dropout_mode: "channel" (semseg) or "element" (Caffe): what is dropped as one.
      bn_momentum: what batch norm keeps of its running statistics at each step (0.95 in Caffe).
      normalization: what the weights expect of their input, one of `preprocessing.NORMALIZATIONS`;
        None for that of the released ones.
      remat: whether a block's activations are computed again in the backward pass, not kept.
      dtype: of the computation; parameters, statistics and logits are float32.
    """

    num_classes: int
    depth: int = 50
    width: float = 1.0
    output_stride: int = 8
    bins: tuple[int, ...] = (1, 2, 3, 6)
    pooling: str = "avg"
    reduce: bool = True
    stem: str = "deep"
    stride_on: str = "3x3"
    dilate_first: bool = True
    align_corners: bool = True
    aux_weight: float = 0.4
    dropout: float = 0.1
    dropout_mode: str = "channel"
    bn_momentum: float = 0.9
    normalization: str | None = None
    remat: bool = False
    dtype: Any = jnp.float32

    @property
    def preprocessing(self) -> Preprocessing:
        """The normalisation that the weights expect: by default semseg's, or Caffe's for "1x1"."""
        published = CAFFE_PSPNET if self.stride_on == "1x1" else IMAGENET
        return chosen(self.normalization, published)

    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Logits at the image's resolution, [N, H, W, num_classes] float32."""
        return self.heads(images, train=train)[0].upsampled()

    @nn.compact
    def heads(self, images: jax.Array, *, train: bool = False) -> list[Head]:
        """The coarse scores, in training the auxiliary ones too, and their resize to the image."""
        check_images(images)
        trunk = ResNet(
            self.depth,
            stem=self.stem,
            output_stride=self.output_stride,
            dilate_first=self.dilate_first,
            stride_on=self.stride_on,
            width=self.width,
            bn_momentum=self.bn_momentum,
            remat=self.remat,
            dtype=self.dtype,
            name="backbone",
        )
        *_, middle, last = trunk(images, train=train)
        levels = self._levels(last, train)
        looks = self.is_mutable_collection("features") and not self.is_initializing()
        if looks:  # nobody else needs the maps themselves
            maps = [tap(self, f"level{b}_upsampled", x.whole()) for b, x in levels.items()]
            tap(self, "pyramid", jnp.concatenate([last, *maps], axis=-1))
        resize = align_corners if self.align_corners else half_pixel

        def head(name, x, features, weight, beside=()):
            scores = ScoreHead(
                self.num_classes,
                scaled(features, self.width),
                self.dropout,
                self.dropout_mode,
                self.bn_momentum,
                self.dtype,
                name=name,
            )(x, train=train, beside=beside)
            return Head(scores, resize(scores.shape[1:3], images.shape[1:3]), weight)

        heads = [head("head", last, 512, 1.0, [*levels.values()])]
        if train or self.is_initializing():
            heads.append(head("aux", middle, 256, self.aux_weight))
        return heads if train else heads[:1]

    def _levels(self, x, train):
        """The pyramid's levels, yet to be resized to the features they lie beside (figure 3c)."""
        check_choice("pooling", self.pooling, ("avg", "max"))
        if any(bins < 1 for bins in self.bins) or len(set(self.bins)) < len(self.bins):
            raise InputError(f"bins is {self.bins}.", "Give different numbers of 1 or more.")
        part = extent(self, "pyramid")  # the pyramid's maps have the size of the features
        if self.pooling == "avg":
            pooled = adaptive_avg_pools(x, self.bins, part)
        else:
            pooled = [adaptive_max_pool(x, bins, part) for bins in self.bins]
        levels = {}
        for bins, level in zip(self.bins, pooled, strict=True):
            if self.reduce:
                self._check_batch(level, train)
                level = ConvNorm(
                    max(1, x.shape[-1] // len(self.bins)),
                    bn_momentum=self.bn_momentum,
                    dtype=self.dtype,
                    fast_variance=False,  # means over an image are close to each other
                    name=f"level{bins}",
                )(level, train=train)
            level = tap(self, f"level{bins}_pooled", level)
            sizes = level.shape[1:3], x.shape[1:3]
            resize = resizing(*sizes, align_corners=self.align_corners, extent=part)
            levels[bins] = Resized(level, resize)
        return levels

    def _check_batch(self, level, train):
        """Refuses to normalise a single value by itself, which would always give zero."""
        if train and level.shape[:3] == (1, 1, 1) and not self.is_initializing():
            raise InputError(
                "A batch of one image leaves the pyramid's level 1 one value in each channel, "
                "which batch norm turns into zero.",
                "Train with a batch of at least 2.",
            )
