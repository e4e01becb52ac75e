"""The border of zeros around FCN's images, of which a network needs to see only some rows.

Rows of a map that see nothing but zeros are all alike, whatever the image: all but one of them can
be left out, and be put back as copies where later layers begin to see the image there. What a map
holds is the same; of FCN's 698×698 for an image of 500×500, conv1_2 works on 514×514.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Block:
    """What a block of 3×3 convolutions and a 2×2 pooling works on.

    Attributes:
      left_out: rows of the image's border, on each side, that the block does without.
      row: of the pooled map, counted from each side: the one that has copies put beside it.
      copies: how many, to have the rows that the next block works on.
    """

    left_out: int = 0
    row: int = 0
    copies: int = 0

    def widened(self, x: jax.Array) -> jax.Array:
        """The pooled map [N, h, w, C] with the copies."""
        if not self.copies:
            return x
        for axis in (1, 2):
            size = x.shape[axis]

            def part(begin, end, axis=axis, x=x):
                return jax.lax.slice_in_dim(x, begin, end, axis=axis)

            def copied(row, axis=axis, part=part):
                one = part(row, row + 1)
                shape = [*one.shape]
                shape[axis] = self.copies + 1
                return jnp.broadcast_to(one, shape)

            far = size - 1 - self.row
            middle = part(self.row + 1, far)
            ends = part(0, self.row), part(far + 1, size)
            parts = [ends[0], copied(self.row), middle, copied(far), ends[1]]
            x = jnp.concatenate(parts, axis=axis)
        return x


def blocks_within(padding: int, convolutions: Sequence[int]) -> list[Block]:
    """How much of a border of `padding` zeros each block can do without.

    Args:
      padding: rows and columns around the image, put there by the first convolution.
      convolutions: how many each block has; they pad by 1 but for the first of all.

    >>> [block.left_out for block in blocks_within(100, (2, 2, 3, 3, 3))]
    [92, 80, 48, 0, 0]
    """
    # The rows first..last, from either side, see neither the image nor a layer's own padding.
    first, last, stride = -1, padding - 2, 1
    left_out, kept = [], []
    for count in convolutions:
        first, last, stride = first + count, last - count, 2 * stride
        # Ceil mode lets the last window of an odd map be one row, and begin one row further on.
        first, last = first // 2 + 1, (last - 1) // 2
        left_out.append(max(last - first, 0) * stride)
        kept.append(first)
    blocks = []
    for i, (rows, row) in enumerate(zip(left_out, kept, strict=True)):
        after = left_out[i + 1] if i + 1 < len(left_out) else 0
        blocks.append(Block(rows, row, (rows - after) // 2 ** (i + 1)))
    return blocks
