"""PSPNet (Zhao et al. 2017): a dilated ResNet whose features are pooled at several scales."""

import functools

import flax.linen as nn
import jax

from jaxseg.models.base import SegmentationModel
from jaxseg.models.preprocessing import CAFFE_PSPNET, IMAGENET, Preprocessing, chosen
from jaxseg.models.resnet import ResNet
from jaxseg.nn.heads import Head, ScoreHead
from jaxseg.nn.pyramid_pooling import PyramidPooling


class PSPNet(SegmentationModel):
    """PSPNet with its auxiliary head (sections 3.2, 3.3 and 4 of the paper).

    Images may have any size. With `output_stride` * n + 1 pixels, such as the published 473 and
    713, the cells are exactly that stride apart, and the first and last cell are on the first and
    last pixel. At other sizes the logits are also resized from corner to corner, which shifts them
    by less than a cell.

    mmsegmentation's PSPNet has `stem="v1c"` and `dilate_first=False`, and, unless trained on crops
    of 769×769, `align_corners=False`. With `stem="7x7"`, training can start from torchvision's
    ImageNet ResNets.

    Attributes:
      num_classes: C, at least 2.
      depth: depth of the backbone: 18, 34, 50, 101, 152 or 269.
      width: multiplies the channels of every hidden layer.
      output_stride: image pixels per cell of the logits: 8, 16 or 32.
      dilations: as in `ResNet`.
      bins: windows along each axis for each level of the pyramid; (): no pyramid (the paper's
        baseline).
      pooling: "avg" or "max".
      reduce: whether a 1×1 convolution reduces each level to 1 / len(bins) of the channels (the
        paper's DR).
      stem: "deep", "v1c" or "7x7", as in `ResNet`.
      stride_on: the convolution with the stride: "3x3" as in semseg, or "1x1" as in the released
        Caffe models, whose images are not divided by a std (see `preprocessing`).
      dilate_first: as in `ResNet`.
      align_corners: whether the resize of pyramid levels and logits maps corner pixels to corner
        pixels; otherwise it uses half-pixel centres.
      aux_weight: loss weight of the auxiliary head.
      dropout: rate before each head's logits in training.
      dropout_mode: unit of dropout: "channel" (semseg) or "element" (Caffe).
      bn_momentum: momentum of the running statistics of batch norm (0.95 in Caffe).
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
    dilations: tuple[int, ...] | None = None
    dilate_first: bool = True
    align_corners: bool = True
    aux_weight: float = 0.4
    dropout: float = 0.1
    dropout_mode: str = "channel"
    bn_momentum: float = 0.9

    @property
    def of_photographs(self) -> Preprocessing:
        """The normalisation of 8-bit RGB images: by default semseg's, or Caffe's for "1x1"."""
        published = CAFFE_PSPNET if self.stride_on == "1x1" else IMAGENET
        return chosen(self.normalization, published)

    @nn.compact
    def network(self, images: jax.Array, train: bool) -> list[Head]:
        """Figure 3: a ResNet, pyramid pooling, a head to logits; and the auxiliary head."""
        *_, stage3, stage4 = ResNet(
            self.depth,
            stem=self.stem,
            output_stride=self.output_stride,
            dilations=self.dilations,
            dilate_first=self.dilate_first,
            stride_on=self.stride_on,
            width=self.width,
            bn_momentum=self.bn_momentum,
            remat=self.remat,
            dtype=self.dtype,
            name="backbone",
        )(images, train=train)
        pyramid = PyramidPooling(
            self.bins,
            self.pooling,
            self.reduce,
            self.align_corners,
            self.bn_momentum,
            self.dtype,
        )
        nn.share_scope(self, pyramid)
        head = functools.partial(self._head, image_size=images.shape[1:3], train=train)
        heads = [head("head", pyramid(stage4, train=train), stage4.shape[-1] // 4)]
        if train or self.is_initializing():
            heads.append(head("aux", stage3, stage3.shape[-1] // 4, self.aux_weight))
        return heads

    def _head(self, name, x, channels, weight=1.0, *, image_size, train) -> Head:
        """A 3×3 and a 1×1 convolution to logits, and their resize to the image."""
        logits = ScoreHead(
            self.num_classes,
            channels,
            self.dropout,
            self.dropout_mode,
            self.bn_momentum,
            self.dtype,
            name=name,
        )(x, train=train)
        return Head.resized(logits, image_size, self.align_corners, weight)
