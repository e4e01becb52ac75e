"""Draws a layer: the channel that responds to a class, in fire colours."""

import jax
import jax.numpy as jnp
import numpy as np

_FIRE = np.array([(0, 0, 20), (90, 15, 110), (215, 60, 60), (250, 160, 40), (255, 255, 210)])


def choose_channel(maps: np.ndarray, mask: np.ndarray) -> int:
    """The channel whose map correlates best with the pixels of a class.

    Args:
      maps: [h, w, C] floating point, a layer for one image.
      mask: [H, W] bool, the pixels of the class.

    Returns:
      0..C-1. If no channel varies (for example in a map of one cell), the one with the largest
      value.

    >>> maps = np.zeros([2, 2, 3])
    >>> maps[0, 0, 2], maps[1, 1, 1] = 1, 5
    >>> choose_channel(maps, np.array([[True, False], [False, False]]))
    2
    """
    cells = jax.image.resize(jnp.asarray(mask, jnp.float32), maps.shape[:2], "linear")
    where = np.asarray(cells, np.float64) - float(cells.mean())
    centred = maps.astype(np.float64) - maps.mean((0, 1), dtype=np.float64)
    size = np.sqrt((centred**2).sum((0, 1)) * (where**2).sum())
    if not size.any():
        return int(maps.max((0, 1)).argmax())
    match = np.einsum("hwc,hw->c", centred, where)
    return int(np.where(size > 0, match / np.where(size > 0, size, 1), -2).argmax())


def heat(values: np.ndarray) -> np.ndarray:
    """[h, w] floating point as colours from the smallest (dark) to the largest (bright) value.

    Returns:
      uint8 [h, w, 3]; a single colour if all values are equal.

    >>> heat(np.array([[0.0, 2.0]]))[0].tolist()
    [[0, 0, 20], [255, 255, 210]]
    """
    values = values.astype(np.float64)
    span = values.max() - values.min()
    share = (values - values.min()) / span if span > 0 else np.full_like(values, 0.5)
    steps = np.linspace(0, 1, len(_FIRE))
    return np.stack([np.interp(share, steps, c) for c in _FIRE.T], -1).round().astype(np.uint8)
