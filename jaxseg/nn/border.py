"""Skips most of the zero border around FCN's images.

Rows of a map that depend only on zeros are equal, whatever the image. A network can leave out all
but one of them, and insert copies before a later layer whose windows reach the image there. FCN
pads an image of 500×500 to 698×698, but conv1_2 computes only 514×514. All values stay the same.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Block:
    """How a block of 3×3 convolutions and a 2×2 pooling handles the border.

    Attributes:
      left_out: rows left out of the border of the block's input, on each side.
      rows: for each convolution, and last for the pooling: the index of an output row, counted from
        each side, that equals the rows left out.
    """

    left_out: int = 0
    rows: tuple[int, ...] = ()

    def whole(self, layer: int) -> Callable[[jax.Array], jax.Array]:
        """A function that inserts all missing rows into a convolution's output."""
        return self._put_back(layer, self.left_out)

    def pooled(self, left_out: int = 0) -> Callable[[jax.Array], jax.Array]:
        """A function that inserts the missing rows of the pooled map, except `left_out` rows."""
        return self._put_back(-1, self.left_out // 2 - left_out)

    def _put_back(self, layer, copies):
        if not copies:
            return lambda x: x
        return functools.partial(with_copies, row=self.rows[layer], copies=copies)


def with_copies(x: jax.Array, *, row: int, copies: int) -> jax.Array:
    """[N, h, w, C] with `copies` copies of `row`, counted from each side; the same for columns.

    >>> with_copies(jnp.zeros([1, 3, 4, 1]), row=0, copies=1).shape
    (1, 5, 6, 1)
    """
    for axis in (1, 2):
        size = x.shape[axis]
        far = size - 1 - row
        cuts = [(0, row), (row, row + 1), (row + 1, far), (far, far + 1), (far + 1, size)]
        parts = [jax.lax.slice_in_dim(x, *cut, axis=axis) for cut in cuts]
        for i in (1, 3):
            shape = [*parts[i].shape]
            shape[axis] = copies + 1
            parts[i] = jnp.broadcast_to(parts[i], shape)
        x = jnp.concatenate(parts, axis=axis)
    return x


def blocks_within(padding: int, convolutions: Sequence[int]) -> list[Block]:
    """How each block of a network handles a border of `padding` zeros.

    Args:
      padding: rows and columns of zeros around the image, added by the first convolution.
      convolutions: number of convolutions of each block; all pad by 1, except the first of all.

    >>> [block.left_out for block in blocks_within(100, (2, 2, 3, 3, 3))]
    [92, 40, 12, 0, 0]
    """
    # Rows first..last, counted from each side, depend on neither the image nor a layer's padding.
    first, last, blocks = -1, padding - 2, []
    for count in convolutions:
        rows = []
        for _ in range(count):
            first, last = first + 1, last - 1
            rows.append(first)
        # In ceil mode, the last window of an odd map may have one row and begin one row later.
        first, last = first // 2 + 1, (last - 1) // 2
        rows.append(first)
        blocks.append(Block(2 * max(last - first, 0), tuple(rows)))
    return blocks
