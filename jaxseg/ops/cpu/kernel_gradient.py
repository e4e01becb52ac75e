"""The kernel gradient of a 3×3 convolution with few channels."""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

_BAND_CELLS = 1_024
_NARROW = 192  # columns up to which kernel positions share a product


def kernel_gradient(
    x: jax.Array, dy: jax.Array, *, start: jax.Array, padding: int, dilation: int
) -> jax.Array:
    """The gradient of a 3×3 kernel, [3, 3, I, O], plus the scalar `start`.

    Computes one product per kernel position, image and band of rows. The rows of a band are padded
    to one length and concatenated, so that moving to another kernel position is a shift by a number
    of cells, without gathering windows. A band has about a thousand cells: enough for an efficient
    product, and few enough that nine copies of it need little memory.
    """
    n, height, width, outputs = dy.shape
    inputs, k = x.shape[-1], 3
    reach = dilation * (k - 1)
    row = width + reach
    bands = -(-height * row // _BAND_CELLS)
    rows = -(-height // bands)
    bands = -(-height // rows)
    length = (rows - 1) * row + width
    places = list(itertools.product(range(0, dilation * k, dilation), repeat=2))
    # With few channels a product is too narrow for the processor: several positions share one.
    together = next((t for t in (k * k, k) if t * inputs <= _NARROW), 1)

    def add_band(total, index):
        image, first = index // bands, (index % bands * rows if bands > 1 else 0)
        band = _rows(x, image, first - padding, rows + reach, (padding, padding))
        gradient = _rows(dy, image, first, rows, (0, reach))[:length]
        # Transposed once here: transposing in each product would cost a quarter more time.
        gradient = lax.optimization_barrier(gradient.T)
        moved = [lax.slice_in_dim(band, i * row + j, i * row + j + length) for i, j in places]
        products = [
            lax.dot(
                gradient,
                jnp.concatenate(moved[at : at + together], axis=1),
                preferred_element_type=jnp.float32,
            )
            for at in range(0, k * k, together)
        ]
        return total + jnp.concatenate(products, axis=1), None

    start = jnp.full((outputs, k * k * inputs), start, jnp.float32)
    total = lax.scan(add_band, start, jnp.arange(n * bands))[0]
    return total.T.reshape(k, k, inputs, outputs).astype(dy.dtype)


def _rows(a, image, first, count, columns):
    """Rows `first` to `first + count` of an image of [N, H, W, C], concatenated: [cells, C].

    Rows beyond the image, and the padding columns at its sides, are zeros.
    """
    _, height, width, channels = a.shape
    held = min(count, height)
    start = jnp.clip(first, 0, height - held)
    part = lax.dynamic_slice(a, (image, start, 0, 0), (1, held, width, channels))[0]
    part = jnp.pad(part, ((count, count), columns, (0, 0)))
    offset = jnp.clip(count + first - start, 0, count + held)  # a negative offset would wrap
    part = lax.dynamic_slice_in_dim(part, offset, count)
    return part.reshape(-1, channels)
