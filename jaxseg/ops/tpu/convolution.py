"""Convolutions from or to few channels, which leave most of a TPU's matrix unit idle.

Figures of XLA's compiler for a v5e (jax 0.10.2, libtpu 0.0.42.1, batch 8, bfloat16):

- FCN's conv1_1 with its kernel's gradient takes 21.5 ms with a padding of 8 zeros, because the
  map's gradient, 541 MB, is transposed. If the kernel's gradient is a product of the 27 values of
  each window and the map's gradient, it takes 11.6 ms.
- DeconvNet's last layers (3×3 from 64 to 64 channels, batch norm, 1×1 to 21 classes at 224×224,
  loss, gradients) take 12.3 ms, because the 21 channels are padded to 128 in memory. If the 1×1
  convolution is a matrix product, XLA puts the pixels last, and they take 6.8 ms. With 128 channels
  or more a product is slower: two of ResNet's blocks take 5.4 ms instead of 4.4.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

MOST = 4  # maximum number of channels of an image


def product(x: jax.Array, kernel: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """See `jaxseg.ops.convolution.conv1x1`."""
    return jnp.dot(x, kernel[0, 0], precision=precision)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def conv2d(
    x: jax.Array, kernel: jax.Array, padding: int, precision: lax.PrecisionLike
) -> jax.Array:
    """See `jaxseg.ops.convolution.conv2d`; at stride 1, for `x` with few channels."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )


@conv2d.defjvp
def _jvp(padding, precision, primals, tangents):
    (x, kernel), (dx, dkernel) = primals, tangents
    k = kernel.shape[0]
    around = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = (n - k + 1 for n in around.shape[1:3])
    places = itertools.product(range(k), repeat=2)
    windows = jnp.concatenate(
        [around[:, i : i + height, j : j + width] for i, j in places], axis=-1
    )
    by_kernel = jnp.dot(windows, dkernel.reshape(-1, kernel.shape[-1]), precision=precision)
    by_x = conv2d(dx, kernel, padding, precision)
    return conv2d(x, kernel, padding, precision), by_x + by_kernel
