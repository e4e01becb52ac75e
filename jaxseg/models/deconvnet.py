"""DeconvNet (Noh et al. 2015): VGG16 and its mirror, with unpooling and deconvolution."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.models.base import SegmentationModel
from jaxseg.models.preprocessing import CAFFE_VGG
from jaxseg.models.vgg import VGG16, VGG16_BLOCKS
from jaxseg.nn.capture import capture
from jaxseg.nn.convolution import ConvBlock
from jaxseg.nn.fields import check_choice, scaled
from jaxseg.nn.heads import Head, Score
from jaxseg.nn.initializers import smoothing
from jaxseg.nn.sequential import sequential
from jaxseg.ops.unpooling import max_unpool
from jaxseg.ops.upsampling import identity

_STRIDE = 32  # stride of pool5
_DECODER_INITS = {
    "gaussian": nn.initializers.normal(0.01),
    "he": nn.initializers.he_normal(),
    "smoothing": smoothing,
}


class DeconvNet(SegmentationModel):
    """DeconvNet on VGG16 (section 3 of the paper): batch norm after every layer but the logits.

    Images are 224×224 as published, or other multiples of 32, at least 32 * `fc_kernel`. Logits are
    at image resolution, so the `Head` does no upsampling.

    `features` (figure 4 of the paper): pool1 to pool5, unpool5 to unpool1, and `out` of every
    layer, such as deconv5_3.

    Deconvolutions store their kernels as [k, k, in, out], not flipped: Caffe's [in, out, k, k]
    transposed by (2, 3, 0, 1). The released weights have batch norm as a scale and a shift of each
    channel; they are imported with a mean of 0 and a variance of 1 - `bn_epsilon`.

    Attributes:
      num_classes: C, at least 2.
      width: multiplies the channels of every hidden layer.
      fc_channels: channels of fc6 and fc7, before `width`.
      fc_kernel: kernel size of fc6 and fc6-deconv, 7 as published; a smaller one allows smaller
        images.
      bn_epsilon: added to the variance in batch norm. The published 1e-9 amplifies a nearly
        constant channel, and its gradient, up to 30,000 times; 1e-5 is safer for training from
        random weights.
      decoder_init: initial kernels from fc6-deconv on: "gaussian" with std 0.01 as published; "he";
        or "smoothing", a bilinear kernel per channel plus 0.3 of "he". The updates of an optimizer
        such as Adam are too large for the small published kernels. From random weights, "he" works
        better, and "smoothing" much better, because it fills the gaps of unpooling from the first
        step.
      bn_momentum: momentum of the running statistics of batch norm. The authors keep none; they
        average over 501 batches after training.
    """

    num_classes: int
    width: float = 1.0
    fc_channels: int = 4096
    fc_kernel: int = 7
    bn_epsilon: float = 1e-9
    decoder_init: str = "gaussian"
    bn_momentum: float = 0.9

    published = CAFFE_VGG

    @nn.compact
    def network(self, images: jax.Array, train: bool) -> list[Head]:
        """conv1_1 to fc7, and back again: fc6-deconv to deconv1_2 (table 2 of the paper)."""
        check_choice("decoder_init", self.decoder_init, _DECODER_INITS)
        run = functools.partial(sequential, self, train=train, remat=self.remat)
        vgg = VGG16(self._conv, argmax=True, remat=self.remat)
        nn.share_scope(self, vgg)
        pooled = vgg(images, train=train)

        fc_layers = [
            self._conv("fc6", self.fc_channels, self.fc_kernel, 0),
            self._conv("fc7", self.fc_channels, 1, 0),
            self._deconv("fc6_deconv", 512, self.fc_kernel, 0),
        ]
        x = run(fc_layers, pooled[5].values)

        for block, deconvolutions, channels in reversed(VGG16_BLOCKS):
            x = max_unpool(x, pooled[block].indices, pooled[block].size, in_place=True)
            x = capture(self, f"unpool{block}", x)
            # the last layer has the channels of the block before, to which unpooling goes next
            after = VGG16_BLOCKS[max(block - 2, 0)][2]
            widths = [channels] * (deconvolutions - 1) + [after]
            layers = [self._deconv(f"deconv{block}_{i}", c, 3, 1) for i, c in enumerate(widths, 1)]
            x = run(layers, x)

        init = _DECODER_INITS[self.decoder_init]
        score = Score(self.num_classes, kernel_init=init, dtype=self.dtype, name="score")
        return [Head(score(x).astype(jnp.float32), identity(images.shape[1:3]))]

    def _conv(self, name: str, channels: int, kernel: int, padding: int, **how: Any) -> Callable:
        """Returns the constructor of a convolution with batch norm and ReLU."""
        how = {"kernel_init": nn.initializers.he_normal(), "bn_momentum": self.bn_momentum} | how
        how |= {"norm": "batch", "bn_epsilon": self.bn_epsilon, "bn_shift": 0.001}
        channels = scaled(channels, self.width)
        return functools.partial(
            ConvBlock, channels, kernel, padding, dtype=self.dtype, name=name, **how
        )

    def _deconv(self, name: str, channels: int, kernel: int, padding: int) -> Callable:
        """Returns the constructor of a deconvolution with batch norm and ReLU."""
        init = _DECODER_INITS[self.decoder_init]
        return self._conv(name, channels, kernel, padding, deconv=True, kernel_init=init)

    def check_size(self, height: int, width: int) -> None:
        """Raises InputError unless both are multiples of 32, and large enough for fc6."""
        size, least = (height, width), _STRIDE * self.fc_kernel
        if all(n >= least and n % _STRIDE == 0 for n in size):
            return
        larger = [max(least, -(-n // _STRIDE) * _STRIDE) for n in size]
        smaller = [max(least, n // _STRIDE * _STRIDE) for n in size]
        fitting = [f"{h}×{w}" for h, w in dict.fromkeys(map(tuple, (smaller, larger)))]
        raise InputError(
            f"DeconvNet does not support images of {height}×{width}: height and width must be "
            f"multiples of {_STRIDE}, at least {least}.",
            f"Resize or pad them to {' or '.join(fitting)}, or larger multiples.",
        )
