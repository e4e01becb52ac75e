"""DeconvNet (Noh et al. 2015): VGG16 and its mirror, with unpooling and deconvolution."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.models.preprocessing import CAFFE_VGG, Preprocessing, chosen
from jaxseg.models.vgg import VGG16
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
from jaxseg.ops.pooling import max_pool_with_argmax
from jaxseg.ops.unpooling import max_unpool
from jaxseg.ops.upsampling import identity

_STRIDE = 32  # of pool5


def _smoothing(key, shape, dtype=jnp.float32):
    """Kernels [3, 3, in, out] that hand channels on, blurred, with some noise; others are He's.

    Unpooling leaves three of four positions empty. From random kernels the decoder has to learn
    first to fill them; these do so from the start, as FCN's bilinear deconvolutions do.
    """
    noise = nn.initializers.he_normal()(key, shape, dtype)
    if shape[:2] != (3, 3):
        return noise
    inputs, outputs = shape[2:]
    each = jnp.arange(max(inputs, outputs))
    same = jnp.zeros((inputs, outputs), dtype).at[each % inputs, each % outputs].set(1)
    hat = jnp.array([0.5, 1.0, 0.5], dtype)
    return hat[:, None, None, None] * hat[:, None, None] * same + 0.3 * noise


_DECODER_INITS = {  # the decoder's first kernels
    "gaussian": nn.initializers.normal(0.01),
    "he": nn.initializers.he_normal(),
    "smoothing": _smoothing,
}


class DeconvNet(nn.Module):
    """DeconvNet on VGG16 (section 3 of the paper): batch norm after every layer but the scores.

    `apply(variables, images)` takes images [N, H, W, 3] floating point, RGB, normalised, of 224×224
    as published or other multiples of 32, from 32 * `fc_kernel` on, and gives logits
    [N, H, W, num_classes] float32. They are at the image's resolution: the `Head` of
    `method="heads"` upsamples nothing.

    `features` (Figure 4 of the paper): pool1 to pool5, unpool5 to unpool1, and `out` of every
    layer, such as deconv5_3.

    Deconvolutions keep their kernels as [k, k, in, out], not flipped: Caffe's [in, out, k, k]
    transposed by (2, 3, 0, 1). The released weights have batch norm as a scale and a shift of each
    channel; they are imported with a mean of 0 and a variance of 1 - `bn_epsilon`.

    Attributes:
      num_classes: C, at least 2.
      width: multiplies the channels of every hidden layer.
      fc_channels: channels of fc6 and fc7, before `width`.
      fc_kernel: size of fc6's and fc6-deconv's windows, 7 as published; a smaller one lets the
        network take smaller images.
      bn_epsilon: what batch norm adds to a variance. The published 1e-9 makes a channel that is all
        but constant, gradients included, up to 30,000 times larger; 1e-5 is the safer choice for
        training from random weights.
      decoder_init: the first kernels of fc6-deconv and all after it: "gaussian" of deviation 0.01
        as published; "he"; or "smoothing", which hands each channel on with a bilinear kernel, and
        has 0.3 of "he" besides. An optimiser such as Adam, whose steps do not shrink with a kernel,
        shakes the small published ones: from random weights it does better with "he", and much
        better with "smoothing", which fills what unpooling leaves empty from the first step.
      bn_momentum: what batch norm keeps of its running statistics at each step. The authors keep
        none, and average over 501 batches once training has ended.
      normalization: what the weights expect of their input, one of `preprocessing.NORMALIZATIONS`;
        None for that of the released ones.
      remat: whether a block's activations are computed again in the backward pass, not kept.
      dtype: of the computation; parameters, statistics and logits are float32.
    """

    num_classes: int
    width: float = 1.0
    fc_channels: int = 4096
    fc_kernel: int = 7
    bn_epsilon: float = 1e-9
    decoder_init: str = "gaussian"
    bn_momentum: float = 0.9
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
        """The logits, and the map that changes nothing."""
        check_images(images)
        self._check_size(images.shape[1:3])
        check_choice("decoder_init", self.decoder_init, _DECODER_INITS)
        run = functools.partial(in_turn, self, train=train, remat=self.remat)
        x, switches = images, {}
        for block, convolutions, channels in VGG16:
            names = [f"conv{block}_{i}" for i in range(1, convolutions + 1)]
            x = run([self._layer(name, channels, 3, 1) for name in names], x)
            size = x.shape[1:3]
            x, where = max_pool_with_argmax(x, 2, 2)
            switches[block] = where, size
            tap(self, f"pool{block}", x)

        middle = [
            self._layer("fc6", self.fc_channels, self.fc_kernel, 0),
            self._layer("fc7", self.fc_channels, 1, 0),
            self._layer("fc6_deconv", VGG16[-1][2], self.fc_kernel, 0, deconv=True),
        ]
        x = run(middle, x)

        for block, deconvolutions, channels in reversed(VGG16):
            where, size = switches[block]
            x = tap(self, f"unpool{block}", max_unpool(x, where, size, in_place=True))
            after = VGG16[max(block - 2, 0)][2]  # a block's last layer has the next one's channels
            widths = [channels] * (deconvolutions - 1) + [after]
            layers = [
                self._layer(f"deconv{block}_{i}", c, 3, 1, deconv=True)
                for i, c in enumerate(widths, 1)
            ]
            x = run(layers, x)
        score = Score(
            self.num_classes,
            (1, 1),
            kernel_init=_DECODER_INITS[self.decoder_init],
            dtype=self.dtype,
            name="score",
        )(x)
        return [Head(score.astype(jnp.float32), identity(images.shape[1:3]))]

    def _layer(self, name, channels, kernel, padding, deconv=False):
        return functools.partial(
            ConvBlock,
            scaled(channels, self.width),
            kernel,
            padding,
            "batch",
            self.dtype,
            deconv=deconv,
            kernel_init=_DECODER_INITS[self.decoder_init if deconv else "he"],
            bn_momentum=self.bn_momentum,
            bn_epsilon=self.bn_epsilon,
            bn_shift=0.001,
            name=name,
        )

    def _check_size(self, size: tuple[int, int]) -> None:
        least = _STRIDE * self.fc_kernel
        if all(n >= least and n % _STRIDE == 0 for n in size):
            return
        larger = [max(least, -(-n // _STRIDE) * _STRIDE) for n in size]
        smaller = [max(least, n // _STRIDE * _STRIDE) for n in size]
        fitting = [f"{h}×{w}" for h, w in dict.fromkeys(map(tuple, (smaller, larger)))]
        raise InputError(
            f"DeconvNet cannot take images of {size[0]}×{size[1]}: height and width have to be "
            f"multiples of {_STRIDE}, of at least {least}.",
            f"Resize or pad them to {' or '.join(fitting)}, or larger multiples.",
        )
