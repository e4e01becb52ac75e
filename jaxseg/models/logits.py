"""The logits of a network before upsampling, for callers that need no full-resolution map."""

from typing import Any

import flax.linen as nn
import jax

from jaxseg.models.preprocessing import normalize
from jaxseg.ops.upsampling import Upsampling


def coarse_logits(
    model: nn.Module, variables: Any, images: jax.Array, size: tuple[int, int]
) -> tuple[jax.Array, Upsampling]:
    """The first head's logits [N, h, w, C], and their upsampling to `size`.

    Args:
      model: the network.
      variables: its parameters and statistics.
      images: uint8 [N, H, W, 3], RGB.
      size: (height, width), that of the images or another.
    """
    images = normalize(images, model.preprocessing)
    head = model.apply(variables, images, method="heads")[0]
    return head.logits, head.upsampling.resized(size)
