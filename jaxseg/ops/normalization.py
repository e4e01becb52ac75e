"""Normalisation across channels, as in networks older than batch norm."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxseg.errors import InputError
from jaxseg.ops.checks import as_array


def local_response_norm(
    x: ArrayLike, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> jax.Array:
    """Divides each value by a norm of the `size` channels around it.

    `y = x / (k + alpha / size * sum(x²)) ** beta`, as in Caffe and PyTorch: `alpha` is divided by
    `size`, and channels beyond the first and the last count as zeros. The defaults are those of
    CaffeNet and GoogLeNet.

    Args:
      x: [..., C], floating point.
      size: number of channels in the sum; odd, with as many channels before as after the value.
      alpha, beta, k: constants of the formula.

    Returns:
      [..., C] in the dtype of `x` (computed in float32).

    Raises:
      InputError: `size` is even or not positive.

    >>> local_response_norm(jnp.ones([1, 3]), size=3, alpha=3.0, beta=1.0).round(3).tolist()
    [[0.3330000042915344, 0.25, 0.3330000042915344]]
    """
    x = as_array(x)
    if size < 1 or size % 2 == 0:
        raise InputError(f"The size of the normalisation is {size}.", "Give an odd number.")
    squares = jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
    around = [(0, 0)] * (x.ndim - 1) + [(size // 2, size // 2)]
    padded = jnp.pad(squares, around)
    channels = x.shape[-1]
    total = sum(padded[..., i : i + channels] for i in range(size))
    return (x * (k + alpha / size * total) ** -beta).astype(x.dtype)
