"""The border of zeros around FCN's images, of which a network needs to see only some rows.

Rows of a map that see nothing but zeros are all alike, whatever the image. All but one of them can
be left out, and put back as copies where a later layer begins to see the image there. Of FCN's
698×698 for an image of 500×500, conv1_2 works on 514×514; every value of a map is the same.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Block:
    """How a block of 3×3 convolutions and a 2×2 pooling deals with the border.

    Attributes:
      left_out: rows of its input's border, on each side, that the block does without.
      rows: for each convolution, and at last for the pooling: a row of its output, counted from
        each side, that equals those left out.
    """

    left_out: int = 0
    rows: tuple[int, ...] = ()

    def whole(self, layer: int) -> Callable[[jax.Array], jax.Array]:
        """Puts back all rows that a convolution's output lacks."""
        return self._put_back(layer, self.left_out)

    def pooled(self, left_out: int = 0) -> Callable[[jax.Array], jax.Array]:
        """Puts back those of the pooled map, but for `left_out` rows of its border."""
        return self._put_back(-1, self.left_out // 2 - left_out)

    def _put_back(self, layer, copies):
        if not copies:
            return lambda x: x
        return functools.partial(with_copies, row=self.rows[layer], copies=copies)


def with_copies(x: jax.Array, *, row: int, copies: int) -> jax.Array:
    """[N, h, w, C] with `copies` more of `row`, counted from each side; the same for columns.

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
    """How each block of a network deals with a border of `padding` zeros.

    Args:
      padding: rows and columns of zeros around the image, put there by the first convolution.
      convolutions: how many each block has; they pad by 1 but for the first of all.

    >>> [block.left_out for block in blocks_within(100, (2, 2, 3, 3, 3))]
    [92, 40, 12, 0, 0]
    """
    # Rows first..last, counted from each side, see neither the image nor a layer's own padding.
    first, last, blocks = -1, padding - 2, []
    for count in convolutions:
        rows = []
        for _ in range(count):
            first, last = first + 1, last - 1
            rows.append(first)
        # Ceil mode lets the last window of an odd map be one row, and begin one row further on.
        first, last = first // 2 + 1, (last - 1) // 2
        rows.append(first)
        blocks.append(Block(2 * max(last - first, 0), tuple(rows)))
    return blocks
