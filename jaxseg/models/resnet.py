"""ResNet (He et al. 2016) with dilation instead of its last strides: backbone of PSPNet and FCN."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.nn.capture import capture
from jaxseg.nn.convolution import ConvNorm, relu
from jaxseg.nn.fields import check_choice, scaled
from jaxseg.nn.sequential import sequential
from jaxseg.ops.activation import shared
from jaxseg.ops.pooling import max_pool

BASIC_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # depth to number of `BasicBlock`s per stage
BLOCKS = {  # depth to number of `Bottleneck`s per stage
    14: (1, 1, 1, 1),  # 14 and 26 are from no paper; they are small enough for tests on a laptop
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    # PSPNet's own ResNet-269 was never published. These are the blocks of the ImageNet network of
    # that name released in github.com/craftGBD/craftGBD, as counted in deploy_resnet269-v2.prototxt
    # of github.com/soeaver/caffe-model: 3 * (3 + 30 + 48 + 8) + 2 layers. Its norms are before the
    # convolutions; here they are after them, as at the other depths.
    269: (3, 30, 48, 8),
}

_STEMS = {  # kernel, stride and channels of each convolution before the max pooling
    "deep": ((3, 2, 64), (3, 1, 64), (3, 1, 128)),
    "v1c": ((3, 2, 32), (3, 1, 32), (3, 1, 64)),
    "7x7": ((7, 2, 64),),
}


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut (ResNet paper, figure 5, left): ResNet-18 and 34.

    The second convolution is not dilated (mmsegmentation). The shortcut is a 1×1 convolution if
    the block changes the shape of its input.

    Attributes:
      planes: channels of both convolutions.
      strides: stride of the block.
      dilation: dilation of the first convolution.
      bn_momentum: momentum of batch norm.
      dtype: compute dtype.
    """

    planes: int
    strides: int = 1
    dilation: int = 1
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[N, h, w, C] to [N, h', w', planes]."""
        conv = functools.partial(ConvNorm, bn_momentum=self.bn_momentum, dtype=self.dtype)
        first = conv(self.planes, 3, self.strides, self.dilation, name="conv1")
        y = first(x, train=train)
        y = conv(self.planes, 3, relu=False, name="conv2")(y, train=train)
        if self.strides > 1 or x.shape[-1] != self.planes:
            project = conv(self.planes, 1, self.strides, relu=False, name="project")
            x = project(x, train=train)
        return capture(self, "out", shared(relu(x + y)))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with a shortcut (ResNet paper, figure 5, right).

    Attributes:
      planes: channels of the first two convolutions; the third has four times as many.
      strides: stride of the block.
      dilation: dilation of the 3×3 convolution.
      project: whether the shortcut is a 1×1 convolution instead of the identity.
      stride_on: the convolution with the stride: "1x1" (the first) or "3x3" (the second).
      bn_momentum: momentum of batch norm.
      dtype: compute dtype.
    """

    planes: int
    strides: int = 1
    dilation: int = 1
    project: bool = False
    stride_on: str = "3x3"
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def conv(name, planes, kernel=1, *, strides=1, dilation=1, relu=True):
            return ConvNorm(
                planes, kernel, strides, dilation, relu, self.bn_momentum, self.dtype, name=name
            )

        first, second = (self.strides, 1) if self.stride_on == "1x1" else (1, self.strides)
        y = conv("conv1", self.planes, strides=first)(x, train=train)
        y = conv("conv2", self.planes, 3, strides=second, dilation=self.dilation)(y, train=train)
        y = conv("conv3", 4 * self.planes, relu=False)(y, train=train)
        if self.project:
            project = conv("project", 4 * self.planes, strides=self.strides, relu=False)
            x = project(x, train=train)
        return capture(self, "out", shared(relu(x + y)))


class ResNet(nn.Module):
    """The backbone, from the image to the output of its fourth stage.

    Attributes:
      depth: 18, 34, 50, 101, 152 or 269 (14 and 26 are small and from no paper).
      stem: "deep" (three 3×3 convolutions, 64, 64 and 128 channels: PSPNet), "v1c" (32, 32 and 64
        channels: mmsegmentation) or "7x7" (one of 64, as in the paper: torchvision).
      output_stride: 8, 16 or 32. A stage that would exceed it is dilated instead.
      dilations: dilations of the four stages, which then all have the strides of the paper
        (mmsegmentation's D32: 1, 1, 2 and 4); None: derived from `output_stride`.
      dilate_first: whether the first block of a dilated stage has the dilation of that stage
        (PSPNet, section 3.1) or that of the previous stage (torchvision, mmsegmentation).
      stride_on: the convolution with the stride in the first block of a stage, "1x1" (Caffe's
        PSPNet) or "3x3" (semseg, torchvision).
      width: multiplies all channels.
      bn_momentum: momentum of batch norm.
      remat: what a block saves for the backward pass (see `jaxseg.nn.sequential`).
      dtype: compute dtype; parameters and statistics are float32.
    """

    depth: int = 50
    stem: str = "deep"
    output_stride: int = 8
    dilations: tuple[int, ...] | None = None
    dilate_first: bool = True
    stride_on: str = "3x3"
    width: float = 1.0
    bn_momentum: float = 0.9
    remat: bool | str = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> list[jax.Array]:
        """[N, H, W, 3] to the outputs of the four stages, at strides 4, 8, up to `output_stride`.

        Each stride rounds up: 473 pixels become 237 after the stem, then 119 and 60.

        Raises:
          InputError: a field has a value not listed above.
        """
        check_choice("depth", self.depth, (*BASIC_BLOCKS, *BLOCKS))
        check_choice("stem", self.stem, _STEMS)
        check_choice("output_stride", self.output_stride, (8, 16, 32))
        check_choice("stride_on", self.stride_on, ("1x1", "3x3"))
        x = images.astype(self.dtype)
        for i, (kernel, strides, features) in enumerate(_STEMS[self.stem], 1):
            x = ConvNorm(
                scaled(features, self.width),
                kernel,
                strides,
                bn_momentum=self.bn_momentum,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x, train=train)
        x = capture(self, "stem", x)
        x = capture(self, "pool", max_pool(x, 3, 2, 1))

        stages, before = [], 1
        for stage, (blocks, strides, dilation) in enumerate(self._stages(), 1):
            for i in range(1, blocks + 1):
                block = self._block(
                    f"layer{stage}_block{i}",
                    scaled(64 * 2 ** (stage - 1), self.width),
                    strides=strides if i == 1 else 1,
                    dilation=before if i == 1 and not self.dilate_first else dilation,
                    first=i == 1,
                )
                x = sequential(self, [block], x, train=train, remat=self.remat)
            stages.append(capture(self, f"layer{stage}", x))
            before = dilation
        return stages

    def _stages(self) -> list[tuple[int, int, int]]:
        """Number of blocks, stride and dilation of each stage."""
        blocks = BASIC_BLOCKS.get(self.depth) or BLOCKS[self.depth]
        if self.dilations is not None:
            if len(self.dilations) != 4 or min(self.dilations) < 1:
                raise InputError(f"dilations is {self.dilations}.", "Give four, each 1 or more.")
            return list(zip(blocks, (1, 2, 2, 2), self.dilations, strict=True))
        stages, total, dilation = [], 4, 1
        for count, strides in zip(blocks, (1, 2, 2, 2), strict=True):
            if total * strides > self.output_stride:
                dilation, strides = dilation * strides, 1
            total *= strides
            stages.append((count, strides, dilation))
        return stages

    def _block(self, name, planes, *, strides, dilation, first) -> Callable:
        """Returns the constructor of a block."""
        how = {"bn_momentum": self.bn_momentum, "dtype": self.dtype, "name": name}
        if self.depth in BASIC_BLOCKS:
            return functools.partial(BasicBlock, planes, strides, dilation, **how)
        return functools.partial(
            Bottleneck, planes, strides, dilation, first, self.stride_on, **how
        )
