"""VGG16's convolutions (Simonyan and Zisserman 2015, table 1, D), which FCN and DeconvNet share."""

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
    """A block's pooled map.

    Attributes:
      values: [N, h, w, C].
      indices: [N, h, w, C] int32, as `max_pool_with_argmax` gives them; None where not asked for.
      size: (height, width) of what was pooled.
    """

    values: jax.Array
    indices: jax.Array | None
    size: tuple[int, int]


class VGG16(nn.Module):
    """conv1_1 to pool5. `features`: pool1 to pool5, and `out` of every layer.

    Attributes:
      conv: (name, channels, kernel, padding) to the constructor of a layer.
      padding: zeros around the image before conv1_1; the other convolutions pad by 1.
      argmax: whether the poolings give the indices of their maxima, too.
      skip_border: whether convolutions leave out rows of a large border that are all alike. Every
        value of a map stays the same. Not for use with batch norm, which counts every cell.
      remat: what a block keeps for the backward pass (see `jaxseg.nn.sequential`).
    """

    conv: Callable
    padding: int = 1
    argmax: bool = False
    skip_border: bool = False
    remat: bool | str = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> dict[int, Pooled]:
        """[N, H, W, 3] to the pooled map of each block, by its number 1 to 5."""
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
        # Images of several sizes in one batch have their borders at different rows.
        if self.skip_border and "extents" not in self.variables:
            return blocks_within(self.padding, [count for _, count, _ in VGG16_BLOCKS])
        return [Block()] * len(VGG16_BLOCKS)


def vgg16_grids(padding: int) -> dict[int, Grid]:
    """Where the cells of each block's pooled map lie in the image."""
    grid, grids = Grid(), {}
    for block, convolutions, _ in VGG16_BLOCKS:
        for i in range(1, convolutions + 1):
            grid = grid.window(3, padding=padding if (block, i) == (1, 1) else 1)
        grid = grids[block] = grid.pool()
    return grids
