"""Walking an upsampled map in strips of rows, so that the whole of it never exists."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.ops.dispatch import dispatch
from jaxseg.ops.gpu.taps import Taps
from jaxseg.ops.upsampling import Upsampling, UpsamplingOfEach, apply_axis
from jaxseg.ops.varying import varying_as

_ROWS = 16  # of a strip, where a caller asks for no other height
_TPU_ROWS = 32  # PSPNet's loss on a v5e: 8.5 ms, and 9.0 with 16 rows (the compiler's cycles)
_GPU_BYTES = 2**31  # of a strip, which is hardly ever written: see `StripsByTaps`


class Strips:
    """The rows of an `Upsampling`'s output in strips, each with the few input rows that it reads.

    Args:
      upsampling: the map from [h, w] to [H, W].
      rows: height of a strip; the last one is filled up with rows of zero weight.

    Attributes:
      count: number of strips.
      band: input rows that each strip reads.
      starts: [count] int32, the first of them.
      weights: [count, rows, band] float32, a strip's share of the row matrix.
      columns: [W, w] float32, the column matrix.
      made_again: whether a strip is better read twice than kept from the first to the second time.
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
        """[N, H, W] to [count, N, rows, W], the last strip filled up with `fill`."""
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
        """One strip of the upsampled map: [N, h, w, C] to [N, rows, W, C]."""
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
    """The same where each image has an upsampling of its own: a strip reads all input rows."""

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
    """The same by weighted sums of rows, for GPUs; one strip is no loop.

    A row of an upsampled map is the sum of two rows, and a kernel that reads the map makes it on
    its way: neither the map nor its gradient is ever written. As products the strips of PSPNet's
    loss move 10.7 GB by 579 kernels on an H200 (jax 0.10.2), most of it in transposes around them,
    and so 0.4 by 9; FCN's 1.9 by 617, and 0.3 by 16.
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
    """One strip of all rows, of a map that is not upsampled: its logits exist already."""

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

    Where the map is not upsampled, there is one strip of all of it, on every platform.

    Args:
      function: of `Strips` and arrays.
      upsampling: the map from [h, w] to [H, W], or one for each image.
      rows: height of a strip; None for that of the platform: 16 on a CPU, 32 on a TPU, on a GPU as
        many as 2 GiB would hold.
      coarse: [N, h, w, C], what is upsampled.
      *arrays: others.
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
