"""Unpadded deconvolution as matrix products."""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.ops.cpu.convolution import gradients_in_turn


def _spread(x, kernel):
    """One matrix product per kernel position, shifted to that position and added.

    fc6-deconv expands one cell to 7×7. As a convolution, it would read that cell within six rows
    and columns of zeros: 49 times the work.
    """
    n, h, w, inputs = x.shape
    k, outputs = kernel.shape[0], kernel.shape[3]
    cells = jnp.broadcast_to(x.reshape(1, n * h * w, inputs), (k * k, n * h * w, inputs))
    parts = lax.dot_general(
        cells,
        kernel.reshape(k * k, inputs, outputs),
        (((2,), (1,)), ((0,), (0,))),
        preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
    ).reshape(k, k, n, h, w, outputs)
    if h == w == 1:
        return parts[..., 0, 0, :].transpose(2, 0, 1, 3).astype(x.dtype)
    total = jnp.zeros((n, h + k - 1, w + k - 1, outputs), parts.dtype)
    for i, j in itertools.product(range(k), range(k)):
        total = total.at[:, i : i + h, j : j + w].add(parts[i, j])
    return total.astype(x.dtype)


spread = jax.custom_vjp(_spread)
spread.defvjp(
    lambda x, kernel: (_spread(x, kernel), (x, kernel)),
    lambda saved, dy: gradients_in_turn(_spread, saved[0], saved[1], dy),
)
