"""FCN on a dilated ResNet, with an auxiliary head: torchvision's `fcn_resnet50` and `101`.

It shares the name of Long et al. 2015, but has neither their skips nor their deconvolution.
mmsegmentation's FCN is the same network with another stem and a longer head.
"""

import functools

import flax.linen as nn
import jax

from jaxseg.models.base import SegmentationModel
from jaxseg.models.preprocessing import IMAGENET
from jaxseg.models.resnet import ResNet
from jaxseg.nn.heads import Head, ScoreHead


class FCNResNet(SegmentationModel):
    """torchvision's FCN: a head on the backbone's last stage, resized to the image.

    mmsegmentation's FCN has `stem="v1c"`, `head_convs=2` and `concat_input=True`, and, if trained
    on crops of 769×769, `align_corners=True`. Its FCN-D6 also has `output_stride=16` and
    `head_dilation=6`.

    Images may have any size.

    Attributes:
      num_classes: C, at least 2.
      depth: depth of the backbone: 18, 34, 50, 101, 152 or 269.
      width: multiplies the channels of every hidden layer.
      output_stride: image pixels per cell of the logits: 8, 16 or 32.
      stem: "deep", "v1c" or "7x7", as in `ResNet`.
      stride_on: as in `ResNet`.
      head_convs: number of 3×3 convolutions of the head, 1 or more; the auxiliary head has one.
      concat_input: whether the head has a further 3×3 convolution, on the backbone's last stage
        concatenated with the output of the others.
      head_dilation: dilation of the 3×3 convolutions of both heads, except that further one.
      align_corners: whether the resize of the logits maps corner pixels to corner pixels; otherwise
        it uses half-pixel centres.
      aux_weight: weight of the auxiliary head's loss.
      dropout: rate before each head's logits in training.
      dropout_mode: unit of dropout: "element" or "channel".
      bn_momentum: momentum of the running statistics of batch norm.
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

    published = IMAGENET

    @nn.compact
    def network(self, images: jax.Array, train: bool) -> list[Head]:
        """A ResNet, a head to logits, and the auxiliary head."""
        *_, stage3, stage4 = ResNet(
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
        )(images, train=train)
        head = functools.partial(self._head, image_size=images.shape[1:3], train=train)
        longer = {"convs": self.head_convs, "concat_input": self.concat_input}
        heads = [head("head", stage4, **longer)]
        if train or self.is_initializing():
            heads.append(head("aux", stage3, self.aux_weight))
        return heads

    def _head(self, name, x, weight=1.0, *, image_size, train, **longer) -> Head:
        """3×3 convolutions, a 1×1 convolution to logits, and their resize to the image."""
        logits = ScoreHead(
            self.num_classes,
            x.shape[-1] // 4,
            self.dropout,
            self.dropout_mode,
            self.bn_momentum,
            self.dtype,
            dilation=self.head_dilation,
            name=name,
            **longer,
        )(x, train=train)
        return Head.resized(logits, image_size, self.align_corners, weight)
