"""Processes an upsampled map in strips of rows, without storing the whole map."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.ops.dispatch import dispatch
from jaxseg.ops.gpu.taps import Taps
from jaxseg.ops.upsampling import Upsampling, UpsamplingOfEach, apply_axis
from jaxseg.ops.varying import varying_as

_ROWS = 16  # default height of a strip
_TPU_ROWS = 32  # PSPNet's loss on a v5e: 8.5 ms, and 9.0 with 16 rows (the compiler's cycles)
_GPU_BYTES = 2**31  # size of a strip, which is rarely written to memory: see `StripsByTaps`


class Strips:
    """The output rows of an `Upsampling` in strips, each with the few input rows that it reads.

    Args:
      upsampling: the map from [h, w] to [H, W].
      rows: height of a strip; rows of zero weight fill up the last one.

    Attributes:
      count: number of strips.
      band: number of input rows that each strip reads.
      starts: [count] int32, the first of these rows.
      weights: [count, rows, band] float32, the part of the row matrix for each strip.
      columns: [W, w] float32, the column matrix.
      made_again: whether recomputing a strip is better than storing it between two uses.
    """

    made_again = False

    def __init__(self, upsampling: Upsampling, rows: int = _ROWS):
        matrix, self.columns = upsampling.matrices()
        out_rows, in_rows = matrix.shape
        self.out_rows = out_rows
        self.rows = min(rows, out_rows)
        self.count = -(-out_rows // self.rows)
        matrix = np.pad(matrix, ((0, self.count * self.rows - out_rows), (0, 0)))
        parts = matrix.reshape(self.count, self.rows, in_rows)
        used = parts.any(axis=1)  # [count, in_rows]
        first = np.where(used.any(axis=1), used.argmax(axis=1), 0)
        last = np.where(used.any(axis=1), in_rows - 1 - used[:, ::-1].argmax(axis=1), 0)
        self.band = int((last - first).max()) + 1
        self.starts = np.minimum(first, in_rows - self.band).astype(np.int32)
        self.weights = np.stack(
            [p[:, s : s + self.band] for p, s in zip(parts, self.starts, strict=True)]
        )

    def split(self, full: jax.Array, fill: Any) -> jax.Array:
        """[N, H, W] to [count, N, rows, W]; `fill` completes the last strip."""
        n, height, width = full.shape
        full = jnp.pad(
            full, ((0, 0), (0, self.count * self.rows - height), (0, 0)), constant_values=fill
        )
        return full.reshape(n, self.count, self.rows, width).swapaxes(0, 1)

    def join(self, parts: jax.Array) -> jax.Array:
        """[count, N, rows, W] to [N, H, W]: the inverse of `split`."""
        count, n, rows, width = parts.shape
        return parts.swapaxes(0, 1).reshape(n, count * rows, width)[:, : self.out_rows]

    def read(self, coarse: jax.Array, start: jax.Array, weights: jax.Array) -> jax.Array:
        """Computes one strip of the upsampled map: [N, h, w, C] to [N, rows, W, C]."""
        band = jax.lax.dynamic_slice_in_dim(coarse, start, self.band, axis=1)
        return apply_axis(weights, apply_axis(self.columns, band, axis=2), axis=1)

    def add_transposed(
        self, total: jax.Array, strip: jax.Array, start: jax.Array, weights: jax.Array
    ) -> jax.Array:
        """Adds the transposed map of one strip [N, rows, W, C] to `total` [N, h, w, C]."""
        band = apply_axis(self.columns.T, apply_axis(weights.T, strip, axis=1), axis=2)
        old = jax.lax.dynamic_slice_in_dim(total, start, self.band, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(total, old + band, start, axis=1)

    def scan(self, body: Callable, init: Any, *per_strip: jax.Array) -> tuple[Any, Any]:
        """`jax.lax.scan` of `body(carry, start, weights, *strip_of_each)` over the strips."""

        def step(carry, xs):
            return body(carry, *xs)

        init = varying_as(init, per_strip)
        return jax.lax.scan(step, init, (self.starts, self.weights, *per_strip))


class StripsOfEach(Strips):
    """`Strips` with a separate upsampling for each image; a strip reads all input rows."""

    def __init__(self, upsampling: UpsamplingOfEach, rows: int = _ROWS):
        matrices, self.columns = upsampling
        images, self.out_rows, in_rows = matrices.shape
        self.rows = min(rows, self.out_rows)
        self.count = -(-self.out_rows // self.rows)
        matrices = jnp.pad(matrices, ((0, 0), (0, self.count * self.rows - self.out_rows), (0, 0)))
        self.band = in_rows
        self.starts = np.zeros(self.count, np.int32)
        self.weights = matrices.reshape(images, self.count, self.rows, in_rows).swapaxes(0, 1)

    def read(self, coarse: jax.Array, start: jax.Array, weights: jax.Array) -> jax.Array:
        return UpsamplingOfEach(weights, self.columns)(coarse)


class StripsByTaps(Strips):
    """`Strips` by weighted sums of rows, for GPUs; a single strip needs no loop.

    A row of an upsampled map is the sum of two rows, which a kernel computes while it reads the
    map: neither the map nor its gradient is written to memory. On an H200 (jax 0.10.2), the strips
    of PSPNet's loss as products move 10.7 GB in 579 kernels, most of it in transposes; as sums they
    move 0.4 GB in 9. FCN's loss moves 1.9 GB in 617 kernels as products, and 0.3 GB in 16 as sums.
    """

    made_again = True

    def __init__(self, upsampling: Upsampling, rows: int = _ROWS):
        super().__init__(upsampling, rows)
        self._across, self._back = Taps.of(self.columns), Taps.of(self.columns.T)
        self.weights = Taps.of(self.weights), Taps.of(self.weights.swapaxes(1, 2))

    def read(self, coarse: jax.Array, start: jax.Array, weights: Any) -> jax.Array:
        down, _ = weights
        return self._across(down.moved(start)(coarse, axis=1), axis=2)

    def add_transposed(
        self, total: jax.Array, strip: jax.Array, start: jax.Array, weights: Any
    ) -> jax.Array:
        _, up = weights
        band = self._back(up(strip, axis=1), axis=2)
        if self.band == total.shape[1]:
            return total + band
        old = jax.lax.dynamic_slice_in_dim(total, start, self.band, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(total, old + band, start, axis=1)

    def scan(self, body: Callable, init: Any, *per_strip: jax.Array) -> tuple[Any, Any]:
        if self.count > 1:
            return super().scan(body, init, *per_strip)
        return _once(body, init, (self.starts, self.weights, *per_strip))


class WholeMap(Strips):
    """One strip of all rows, for a map without upsampling, whose logits exist already."""

    def __init__(self, size: tuple[int, int]):
        self.out_rows = self.rows = self.band = size[0]
        self.count = 1
        self.starts, self.weights = np.zeros(1, np.int32), np.zeros(1, np.float32)

    def read(self, coarse: jax.Array, start: jax.Array, weights: jax.Array) -> jax.Array:
        return coarse

    def add_transposed(
        self, total: jax.Array, strip: jax.Array, start: jax.Array, weights: jax.Array
    ) -> jax.Array:
        return total + strip

    def scan(self, body: Callable, init: Any, *per_strip: jax.Array) -> tuple[Any, Any]:
        return _once(body, init, (self.starts, self.weights, *per_strip))


def _once(body: Callable, init: Any, per_strip: tuple[Any, ...]) -> tuple[Any, Any]:
    """`jax.lax.scan` of a single step, without a loop."""
    carry, out = body(init, *jax.tree.map(lambda a: a[0], per_strip))
    return carry, jax.tree.map(lambda a: a[None], out)


def in_strips(
    function: Callable[..., Any],
    upsampling: Upsampling | UpsamplingOfEach,
    rows: int | None,
    coarse: jax.Array,
    *arrays: jax.Array,
) -> Any:
    """`function(strips, coarse, *arrays)`, with strips that suit the platform.

    A map without upsampling is one strip on every platform.

    Args:
      function: a function of `Strips` and arrays.
      upsampling: the map from [h, w] to [H, W], or one per image.
      rows: height of a strip; None: the platform's default: 16 on a CPU, 32 on a TPU, and as many
        rows as fit in 2 GiB on a GPU.
      coarse: [N, h, w, C], the map to upsample.
      *arrays: further arguments of `function`.
    """
    if isinstance(upsampling, Upsampling) and upsampling.changes_nothing:
        return function(WholeMap(upsampling.out_size), coarse, *arrays)

    def on(make: Callable, height: int) -> Callable:
        return lambda *arrays: function(make(upsampling, rows or height), *arrays)

    n, _, _, classes = coarse.shape
    fitting = max(1, _GPU_BYTES // (4 * n * upsampling.out_size[1] * classes))
    each = isinstance(upsampling, UpsamplingOfEach)
    plain = StripsOfEach if each else Strips
    return dispatch(
        "strips",
        coarse,
        *arrays,
        reference=on(plain, _ROWS),
        gpu=on(StripsOfEach if each else StripsByTaps, fitting),
        tpu=on(plain, _TPU_ROWS),
    )
