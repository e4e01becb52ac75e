"""Pyramid pooling (Zhao et al. 2017, section 3.2 and figure 3c)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.nn.capture import capture, extent
from jaxseg.nn.convolution import ConvNorm
from jaxseg.nn.fields import check_choice
from jaxseg.ops.adaptive_pooling import adaptive_avg_pools, adaptive_max_pool
from jaxseg.ops.pyramid_conv import Resized, joined, pyramid_conv
from jaxseg.ops.upsampling import resizing


class Pyramid(NamedTuple):
    """A feature map and the levels resized to its size; the input of `PyramidConv`.

    Attributes:
      features: [N, h, w, C].
      levels: maps of [h, w], each given by its pooled cells and its resize.
    """

    features: jax.Array
    levels: tuple[Resized, ...] = ()


class PyramidPooling(nn.Module):
    """Pools a map into a few windows at several scales, and resizes each level to the map's size.

    Captures in `features`: levelN_pooled and levelN_upsampled of each level, and the concatenated
    `pyramid`.

    Attributes:
      bins: windows of each level along each axis: 1, 2, 3 and 6 in the paper.
      pooling: "avg" or "max".
      reduce: whether a 1×1 convolution reduces each level to 1 / len(bins) of the channels.
      align_corners: whether the resize maps corner pixels to corner pixels; otherwise it uses
        half-pixel centres.
      bn_momentum: momentum of batch norm.
      dtype: compute dtype.
    """

    bins: tuple[int, ...] = (1, 2, 3, 6)
    pooling: str = "avg"
    reduce: bool = True
    align_corners: bool = True
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Pyramid:
        """[N, h, w, C] to the map and its levels."""
        self._check(x, train)
        part = extent(self, "pyramid")
        if self.pooling == "avg":
            pooled = adaptive_avg_pools(x, self.bins, part)
        else:
            pooled = [adaptive_max_pool(x, bins, part) for bins in self.bins]
        levels: tuple[Resized, ...] = ()
        for bins, level in zip(self.bins, pooled, strict=True):
            if self.reduce:
                level = ConvNorm(
                    max(1, x.shape[-1] // len(self.bins)),
                    bn_momentum=self.bn_momentum,
                    dtype=self.dtype,
                    fast_variance=False,  # means over an image are close to each other, so that
                    # the difference of E[x²] and E[x]² would be inexact
                    name=f"level{bins}",
                )(level, train=train)
            level = capture(self, f"level{bins}_pooled", level)
            sizes = level.shape[1:3], x.shape[1:3]
            resize = resizing(*sizes, align_corners=self.align_corners, extent=part)
            levels += (Resized(level, resize),)
            capture(self, f"level{bins}_upsampled", level, levels[-1].resize.__call__)
        capture(self, "pyramid", x, lambda x: joined(x, levels))
        return Pyramid(x, levels)

    def _check(self, x, train):
        check_choice("pooling", self.pooling, ("avg", "max"))
        if any(bins < 1 for bins in self.bins) or len(set(self.bins)) < len(self.bins):
            raise InputError(f"bins is {self.bins}.", "Give distinct integers of 1 or more.")
        alone = train and self.reduce and 1 in self.bins and x.shape[0] == 1
        if alone and not self.is_initializing():
            raise InputError(
                "With a batch of one image, level 1 of the pyramid has one value per channel, "
                "which batch norm turns into zero.",
                "Train with a batch of at least 2.",
            )


class PyramidConv(ConvNorm):
    """A `ConvNorm` of stride 1 over the concatenation of a pyramid's map and levels."""

    def channels(self, x: Pyramid) -> int:
        """Number of channels of the map and all levels."""
        return x.features.shape[-1] + sum(level.cells.shape[-1] for level in x.levels)

    def convolve(self, x: Pyramid, kernel: jax.Array) -> jax.Array:
        """The concatenated map convolved with `kernel`."""
        return pyramid_conv(x.features.astype(self.dtype), x.levels, kernel)
