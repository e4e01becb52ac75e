"""The gradient of a 3×3 convolution's kernel, where channels are few."""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

_BAND_CELLS = 1_024
_NARROW = 192  # columns up to which places of the kernel share a product


def kernel_gradient(
    x: jax.Array, dy: jax.Array, *, start: jax.Array, padding: int, dilation: int
) -> jax.Array:
    """The gradient of a 3×3 kernel, [3, 3, I, O], plus the scalar `start`.

    One product for each place of the kernel, image and band of rows. The rows of a band are padded
    to one length and laid end to end, so that another place of the kernel is a shift by a number of
    cells, and no window is gathered. A band has some thousand cells: enough for a product, and few
    enough that nine copies of it are little memory.
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
    # Few channels make a product too narrow for the processor: several places share one.
    together = next((t for t in (k * k, k) if t * inputs <= _NARROW), 1)

    def add_band(total, index):
        image, first = index // bands, (index % bands * rows if bands > 1 else 0)
        band = _rows(x, image, first - padding, rows + reach, (padding, padding))
        gradient = _rows(dy, image, first, rows, (0, reach))[:length]
        # Turned once, not by each product, all of which would be a quarter slower.
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
    """Rows `first` to `first + count` of an image of [N, H, W, C], laid end to end: [cells, C].

    There are zeros in rows beyond the image, and in the columns put at its sides.
    """
    _, height, width, channels = a.shape
    held = min(count, height)
    start = jnp.clip(first, 0, height - held)
    part = lax.dynamic_slice(a, (image, start, 0, 0), (1, held, width, channels))[0]
    part = jnp.pad(part, ((count, count), columns, (0, 0)))
    offset = jnp.clip(count + first - start, 0, count + held)  # a negative one would wrap around
    part = lax.dynamic_slice_in_dim(part, offset, count)
    return part.reshape(-1, channels)
