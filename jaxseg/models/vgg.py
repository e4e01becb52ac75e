"""The convolutions of VGG16 (Simonyan and Zisserman 2015, table 1, D), for FCN and DeconvNet."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax

from jaxseg.nn.alignment import Grid
from jaxseg.nn.border import Block, blocks_within
from jaxseg.nn.capture import capture
from jaxseg.nn.sequential import sequential
from jaxseg.ops.pooling import max_pool, max_pool_with_argmax

VGG16_BLOCKS = (  # (block, convolutions, channels); 2×2 pooling with stride 2 after each block
    (1, 2, 64),
    (2, 2, 128),
    (3, 3, 256),
    (4, 3, 512),
    (5, 3, 512),
)


class Pooled(NamedTuple):
    """The pooled map of a block.

    Attributes:
      values: [N, h, w, C].
      indices: [N, h, w, C] int32, as returned by `max_pool_with_argmax`; None if not requested.
      size: (height, width) before the pooling.
    """

    values: jax.Array
    indices: jax.Array | None
    size: tuple[int, int]


class VGG16(nn.Module):
    """conv1_1 to pool5. Captures pool1 to pool5 in `features`, and `out` of every layer.

    Attributes:
      conv: maps (name, channels, kernel, padding) to the constructor of a layer.
      padding: zeros around the image before conv1_1; the other convolutions pad by 1.
      argmax: whether the poolings also return the indices of their maxima.
      skip_border: whether convolutions leave out equal rows of a large border, without changing any
        value of a map. Not for batch norm, which counts every cell.
      remat: what a block saves for the backward pass (see `jaxseg.nn.sequential`).
    """

    conv: Callable
    padding: int = 1
    argmax: bool = False
    skip_border: bool = False
    remat: bool | str = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> dict[int, Pooled]:
        """[N, H, W, 3] to a dict of the pooled maps by block number, 1 to 5."""
        x, pooled = images, {}
        borders = self._borders()
        for (block, convolutions, channels), border in zip(VGG16_BLOCKS, borders, strict=True):
            layers = []
            for i in range(1, convolutions + 1):
                padding = self.padding - border.left_out if (block, i) == (1, 1) else 1
                shown = border.whole(i - 1)
                layers.append(self.conv(f"conv{block}_{i}", channels, 3, padding, shown=shown))
            x = sequential(self, layers, x, train=train, remat=self.remat)
            size, indices = x.shape[1:3], None
            if self.argmax:
                x, indices = max_pool_with_argmax(x, 2, 2, ceil_mode=True)
            else:
                x = max_pool(x, 2, 2, ceil_mode=True)
            x = capture(self, f"pool{block}", x, border.pooled())
            pooled[block] = Pooled(border.pooled()(x), indices, size)
            x = border.pooled(borders[block].left_out if block < 5 else 0)(x)
        return pooled

    def _borders(self) -> list[Block]:
        # In a batch of images of several sizes, their borders are at different rows.
        if self.skip_border and "extents" not in self.variables:
            return blocks_within(self.padding, [count for _, count, _ in VGG16_BLOCKS])
        return [Block()] * len(VGG16_BLOCKS)


def vgg16_grids(padding: int) -> dict[int, Grid]:
    """The positions in the image of the cells of each block's pooled map."""
    grid, grids = Grid(), {}
    for block, convolutions, _ in VGG16_BLOCKS:
        for i in range(1, convolutions + 1):
            grid = grid.window(3, padding=padding if (block, i) == (1, 1) else 1)
        grid = grids[block] = grid.pool()
    return grids
