"""Walking an upsampled map in strips of rows, so that the whole of it never exists."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.ops.upsampling import Upsampling, UpsamplingOfEach, apply_axis
from jaxseg.ops.varying import varying_as


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
    """

    def __init__(self, upsampling: Upsampling, rows: int = 16):
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

    def __init__(self, upsampling: UpsamplingOfEach, rows: int = 16):
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


def make_strips(upsampling: Upsampling | UpsamplingOfEach, rows: int) -> Strips:
    """The strips of one upsampling for all images, or of one for each."""
    if isinstance(upsampling, UpsamplingOfEach):
        return StripsOfEach(upsampling, rows)
    return Strips(upsampling, rows)
