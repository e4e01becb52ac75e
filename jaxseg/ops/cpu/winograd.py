"""3×3 convolution with 4 products per output instead of 9 (Winograd), as sums over arrays.

F(2×2, 3×3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016): the 2×2
outputs of a tile are computed from its 4×4 inputs by 16 products with the transformed kernel; the
plain sum needs 36. It is the same sum in another order. In float32 both agree to 1e-6 of the
largest value.

The image is stored as a strip: a sequence of cells of 2×2 pixels, with rows and images
concatenated. The neighbour of a tile is a constant number of cells away, the same for every tile.
Transforms are therefore sums of whole slices, and products run over as many cells as suit the
processor.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.ops.cpu.order import zero_after

_TILE = 2
# One axis of the transforms: outputs = A (B inputs * G kernel), with "*" for each of four values.
_A = ((1, 1, 1, 0), (0, 1, -1, -1))
_B = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_CHANNELS = 128  # with fewer channels, the transforms cost as much as the products that they save
BAND_VALUES = 2**17  # values of an array processed at a time, but
BAND_CELLS = 256  # at least this many cells, because each band reads the whole kernel


def pays(x: jax.Array, outputs: int) -> bool:
    """Whether this form of the convolution of `x` to `outputs` channels is faster on a CPU.

    False for an `x` of symbolic size in an exported program (`jax.export.symbolic_shape`), because
    its number of tiles is unknown.
    """
    known = all(isinstance(n, int) for n in x.shape)
    return known and x.dtype == jnp.float32 and min(x.shape[-1], outputs) >= _CHANNELS


@functools.partial(jax.jit, static_argnames=("padding", "dilation", "turned"), inline=True)
def winograd(
    x: jax.Array, kernel: jax.Array, *, padding: int, dilation: int, turned: bool = False
) -> jax.Array:
    """The convolution of [N, H, W, I] with [3, 3, I, O]; see `conv2d`.

    `turned`: the kernel is [3, 3, O, I] and rotated by 180 degrees, as for an input's gradient.
    """
    tiles = _Tiles.of(x, padding, dilation)
    outputs = kernel.shape[2 if turned else 3]
    if turned:
        kernel = kernel[::-1, ::-1]
    # The product transposes channels at no cost; transposing before the transform is slow.
    over_channels = (((1,), (1 if turned else 0,)), ((), ()))
    places = [kernel[i, j] for i, j in itertools.product(range(3), repeat=2)]
    kernels = _transformed(_G, lambda i, j: places[3 * i + j])
    length, bands = tiles.bands(max(x.shape[-1], outputs))
    strip = tiles.strip(x, padding, bands * length + tiles.reach)

    def band(start):
        values = tiles.inputs(strip, start, length)
        products = [
            lax.dot_general(v, k, over_channels) for v, k in zip(values, kernels, strict=True)
        ]
        return jnp.stack(_transformed(_A, lambda i, j: products[4 * i + j]))

    if bands == 1:
        return tiles.image(band(0))

    def add_band(whole, start):
        return lax.dynamic_update_slice(whole, band(start), (0, start, 0)), None

    # Every cell will be written; an array of zeros would be kept, and copied each time.
    whole = jnp.broadcast_to(strip[0, 0, 0], (_TILE**2, bands * length, outputs))
    return tiles.image(lax.scan(add_band, whole, jnp.arange(bands) * length)[0])


@functools.partial(jax.jit, static_argnames=("padding", "dilation"), inline=True)
def winograd_kernel_gradient(
    x: jax.Array, dy: jax.Array, *, padding: int, dilation: int
) -> jax.Array:
    """The kernel's gradient, [3, 3, I, O], from `x` and the gradient of `winograd`'s result."""
    tiles = _Tiles.of(x, padding, dilation)
    inputs, outputs = x.shape[-1], dy.shape[-1]
    length, bands = tiles.bands(max(inputs, outputs))
    strip = tiles.strip(x, padding, bands * length + tiles.reach)
    gradients = tiles.strip(dy, 0, bands * length)
    turned = tuple(zip(*_A, strict=True))

    def band(start):
        def gradient(i, j):
            return lax.dynamic_slice(gradients, (_TILE * i + j, start, 0), (1, length, outputs))[0]

        values = tiles.inputs(strip, start, length)
        over_cells = (((0,), (0,)), ((), ()))
        return [
            lax.dot_general(v, d, over_cells)
            for v, d in zip(values, _transformed(turned, gradient), strict=True)
        ]

    if bands == 1:
        products = band(0)
    else:

        def add_band(totals, start):
            return [t + p for t, p in zip(totals, band(start), strict=True)], None

        nothing = [jnp.full((inputs, outputs), zero_after(strip))] * 16
        products = lax.scan(add_band, nothing, jnp.arange(bands) * length)[0]
    places = _transformed(tuple(zip(*_G, strict=True)), lambda i, j: products[4 * i + j])
    return jnp.stack(places).reshape(3, 3, inputs, outputs)


class _Tiles(NamedTuple):
    """The layout of an image's tiles in the strip.

    A dilated kernel reads every `dilation`-th row and column, which form images of their own. If an
    image has zeros around it, the zeros after one row are also the zeros before the next row.
    """

    images: int
    height: int  # height and width of the output
    width: int
    dilation: int
    rows: int  # rows of cells per image in the strip; the last row may hold neighbours only
    columns: int

    @classmethod
    def of(cls, x, padding, dilation):
        n, height, width, _ = x.shape
        height, width = (size + 2 * padding - 2 * dilation for size in (height, width))
        shared = padding >= dilation
        lines = (-(-size // dilation) + (1 if shared else 2) for size in (height, width))
        rows, columns = (-(-count // _TILE) for count in lines)
        return cls(n, height, width, dilation, rows, columns)

    @property
    def cells(self) -> int:
        return self.images * self.dilation**2 * self.rows * self.columns

    @property
    def reach(self) -> int:
        """How many cells beyond its own a tile reads: one row and one column."""
        return self.columns + 1

    def bands(self, channels: int) -> tuple[int, int]:
        """Cells per band, and the number of bands."""
        bands = max(1, round(self.cells / max(BAND_VALUES / channels, BAND_CELLS)))
        return -(-self.cells // bands), bands

    def strip(self, a: jax.Array, padding: int, cells: int) -> jax.Array:
        """[4, cells, C], one array for each pixel of a cell; zeros around the image."""
        n, *size, channels = a.shape
        step = _TILE * self.dilation
        around = [(padding, m * step - padding - k) for m, k in zip(self[4:], size, strict=True)]
        a = lax.pad(a, jnp.zeros((), a.dtype), [(0, 0, 0), *((*p, 0) for p in around), (0, 0, 0)])
        a = a.reshape(n, self.rows, _TILE, self.dilation, self.columns, _TILE, self.dilation, -1)
        a = a.transpose(2, 5, 0, 3, 6, 1, 4, 7).reshape(_TILE**2, self.cells, channels)
        return jnp.pad(a, ((0, 0), (0, cells - self.cells), (0, 0)))

    def inputs(self, strip: jax.Array, start: jax.Array | int, length: int) -> list[jax.Array]:
        """The transformed inputs of a band's tiles: 16 of [length, C]."""

        def pixel(i, j):
            place = i % _TILE * _TILE + j % _TILE
            cell = start + i // _TILE * self.columns + j // _TILE
            return lax.dynamic_slice(strip, (place, cell, 0), (1, length, strip.shape[-1]))[0]

        return _transformed(_B, pixel)

    def image(self, strip: jax.Array) -> jax.Array:
        """[N, H, W, C], the image in a strip."""
        grid = (self.images, self.dilation, self.dilation, self.rows, self.columns)
        a = strip[:, : self.cells].reshape(_TILE, _TILE, *grid, strip.shape[-1])
        step = _TILE * self.dilation
        rows, columns = (-(-size // step) for size in (self.height, self.width))
        a = a[..., :rows, :columns, :].transpose(2, 5, 0, 3, 6, 1, 4, 7)
        sides = (rows * step, columns * step)
        return a.reshape(self.images, *sides, -1)[:, : self.height, : self.width]


def _transformed(
    matrix: Sequence[Sequence[float]], array: Callable[[int, int], jax.Array]
) -> list[jax.Array]:
    """`matrix` times a square of arrays times the transposed `matrix`, in row order."""

    def total(down, across):
        result = None
        for i, p in enumerate(down):
            for j, q in enumerate(across):
                if p * q:
                    term = array(i, j) if abs(p * q) == 1 else abs(p * q) * array(i, j)
                    if result is None:
                        result = term if p * q > 0 else lax.neg(term)
                    else:
                        result = lax.add(result, term) if p * q > 0 else lax.sub(result, term)
        return result

    return [total(down, across) for down in matrix for across in matrix]
