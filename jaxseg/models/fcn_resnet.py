"""FCN on a dilated ResNet, with an auxiliary head: torchvision's `fcn_resnet50` and `101`.

It has the name of Long et al. 2015, but neither their skips nor their deconvolution.
mmsegmentation's FCN is the same with another stem and a longer head.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.models.preprocessing import IMAGENET, Preprocessing, chosen
from jaxseg.models.resnet import ResNet
from jaxseg.nn.layers import Head, ScoreHead, check_images
from jaxseg.ops.upsampling import align_corners, half_pixel


class FCNResNet(nn.Module):
    """torchvision's FCN: a head on the trunk's last stage, resized to the image.

    mmsegmentation's has `stem="v1c"`, `head_convs=2` and `concat_input=True`, and where it was
    trained on crops of 769×769, `align_corners=True`. Its FCN-D6 also has `output_stride=16` and
    `head_dilation=6`.

    `apply(variables, images)` takes images [N, H, W, 3] floating point, RGB, normalised, of any
    size, and gives logits [N, H, W, num_classes] float32. `method="heads"` gives the coarse `Head`
    instead, and with `train=True` the auxiliary one after it.

    Attributes:
      num_classes: C, at least 2.
      depth: of the trunk, as in `ResNet`: 50, 101, 152 or 269.
      width: multiplies the channels of every hidden layer.
      output_stride: 8, 16 or 32 pixels of the image to a cell of the scores.
      stem: "deep", "v1c" or "7x7", as in `ResNet`.
      stride_on: as in `ResNet`.
      head_convs: 3×3 convolutions of the head, 1 or more; the auxiliary head has one.
      concat_input: whether the head joins the trunk's last stage to what they make of it, and has
        one more 3×3 convolution of both.
      head_dilation: of the 3×3 convolutions of both heads, but of that last one.
      align_corners: whether the scores are resized from corner to corner, or take pixels as
        squares.
      aux_weight: what the auxiliary head's loss counts.
      dropout: rate before each head's scores in training.
      dropout_mode: "element" or "channel": what is dropped as one.
      bn_momentum: what batch norm keeps of its running statistics at each step.
      normalization: what the weights expect of their input, one of `preprocessing.NORMALIZATIONS`;
        None for that of the released ones.
      remat: whether a block's activations are computed again in the backward pass, not kept.
      dtype: of the computation; parameters, statistics and logits are float32.
    """

    num_classes: int
    depth: int = 50
    width: float = 1.0
    output_stride: int = 8
    stem: str = "7x7"
    stride_on: str = "3x3"
    head_convs: int = 1
    concat_input: bool = False
    head_dilation: int = 1
    align_corners: bool = False
    aux_weight: float = 0.5
    dropout: float = 0.1
    dropout_mode: str = "element"
    bn_momentum: float = 0.9
    normalization: str | None = None
    remat: bool = False
    dtype: Any = jnp.float32

    @property
    def preprocessing(self) -> Preprocessing:
        """The normalisation that the weights expect."""
        return chosen(self.normalization, IMAGENET)

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
            dilate_first=False,
            stride_on=self.stride_on,
            width=self.width,
            bn_momentum=self.bn_momentum,
            remat=self.remat,
            dtype=self.dtype,
            name="backbone",
        )
        *_, middle, last = trunk(images, train=train)
        resize = align_corners if self.align_corners else half_pixel

        def head(name, x, weight, convs=1, concat_input=False):
            scores = ScoreHead(
                self.num_classes,
                x.shape[-1] // 4,
                self.dropout,
                self.dropout_mode,
                self.bn_momentum,
                self.dtype,
                convs,
                concat_input,
                self.head_dilation,
                name=name,
            )(x, train=train)
            return Head(scores, resize(scores.shape[1:3], images.shape[1:3]), weight)

        heads = [head("head", last, 1.0, self.head_convs, self.concat_input)]
        if train or self.is_initializing():
            heads.append(head("aux", middle, self.aux_weight))
        return heads if train else heads[:1]
