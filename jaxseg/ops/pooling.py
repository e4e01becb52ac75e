"""Max pooling as in Caffe and PyTorch: padding never wins, and ties go to the first value."""

import functools
import itertools
import operator

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxseg.errors import InputError
from jaxseg.ops.checks import as_array
from jaxseg.ops.dispatch import dispatch, on_any_mesh
from jaxseg.ops.gpu import pooling as gpu
from jaxseg.ops.tpu import unpooling as tpu

Pair = int | tuple[int, int]


def max_pool(
    x: ArrayLike, window: Pair, strides: Pair, padding: Pair = 0, *, ceil_mode: bool = False
) -> jax.Array:
    """Max pooling over height and width.

    Args:
      x: [N, H, W, C], floating point.
      window: rows and columns of a window, one number for both or a pair; `strides` and `padding`
        likewise.
      strides: step from one window to the next.
      padding: rows and columns of minus infinity at each side.
      ceil_mode: whether the output size is rounded up (Caffe; the last window may extend beyond the
        edge, but never starts outside the padded input) or down.

    Returns:
      [N, H', W', C] in the dtype of `x`. The gradient goes to the first largest value of a window
      in row order.

    >>> x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    >>> max_pool(x, 2, 2).ravel().tolist(), max_pool(x, 2, 2, ceil_mode=True).ravel().tolist()
    ([4.0], [4.0, 5.0, 7.0, 8.0])
    """
    x = as_array(x)
    rows, columns = _geometry(x, window, strides, padding, ceil_mode)

    def reduce_window(x):
        return lax.reduce_window(
            x,
            -jnp.inf,
            lax.max,
            (1, rows.window, columns.window, 1),
            (1, rows.stride, columns.stride, 1),
            ((0, 0), (rows.before, rows.after), (columns.before, columns.after), (0, 0)),
        )

    def by_comparison(x):
        windows = _Windows(x, rows, columns)
        return gpu.max_pool(x, reduce_window, windows.places, windows.at, windows.inside)

    # On a CPU the gradient of reduce_window is many times slower than that of compared slices.
    return dispatch(
        "max_pool",
        x,
        reference=reduce_window,
        cpu=lambda x: _pool(x, rows, columns)[0],
        gpu=by_comparison,
    )


@on_any_mesh("batch")
def max_pool_with_argmax(
    x: ArrayLike, window: Pair, strides: Pair, padding: Pair = 0, *, ceil_mode: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Max pooling that also returns the position of each maximum.

    Args:
      x: [N, H, W, C], floating point.
      window, strides, padding, ceil_mode: as in `max_pool`.

    Returns:
      values [N, H', W', C] in the dtype of `x`, and indices [N, H', W', C] int32: `h * W + w` of
      the maximum inside its own plane of `x` (Caffe's pooling mask, PyTorch's `return_indices`),
      ties to the first in row order.

    >>> values, indices = max_pool_with_argmax(
    ...     jnp.array([[1.0, 3.0], [3.0, 2.0]]).reshape(1, 2, 2, 1), 2, 2
    ... )
    >>> values.item(), indices.item()
    (3.0, 1)
    """
    x = as_array(x)
    rows, columns = _geometry(x, window, strides, padding, ceil_mode)
    pool = functools.partial(_pool, rows=rows, columns=columns)
    if not all(axis.in_blocks for axis in (rows, columns)):
        return pool(x)
    in_blocks = functools.partial(pool, at=tpu.in_blocks)
    return dispatch("max_pool", x, reference=pool, tpu=in_blocks, across_devices=("tpu",))


def pair(value: Pair) -> tuple[int, int]:
    """`value` as a pair for rows and columns.

    Raises:
      InputError: `value` is neither one integer nor two.

    >>> pair(2), pair([3, 1])
    ((2, 2), (3, 1))
    """
    both = tuple(value) if isinstance(value, tuple | list | np.ndarray) else (value, value)
    try:
        rows, columns = (v if jax.export.is_symbolic_dim(v) else operator.index(v) for v in both)
        return rows, columns
    except (TypeError, ValueError):
        raise InputError(
            f"{value!r} is neither a number of rows and columns nor a pair of them.",
            "Give a whole number, or two: (rows, columns).",
        ) from None


class _Axis:
    """One axis of a pooling: window, stride, output size, and the padding to complete windows."""

    def __init__(self, size: int, window: int, stride: int, padding: int, ceil_mode: bool):
        span = size + 2 * padding - window
        shortest = 1 - stride if ceil_mode else 0
        empty = any(n < 1 for n in (size, window, stride))
        if empty or not 0 <= padding < window or span < shortest:
            raise InputError(
                f"A window of {window} with stride {stride} and padding {padding} "
                f"does not fit {size} pixels.",
                "Give a larger image, a smaller window, or a padding below the window.",
            )
        out = (-(-span // stride) if ceil_mode else span // stride) + 1
        if ceil_mode and (out - 1) * stride >= size + padding:
            out -= 1  # a window must start inside the image or its leading padding
        self.window, self.stride, self.out = window, stride, out
        self.before = padding
        self.in_blocks = window == stride == 2 and not padding and _is_even(size)
        self.after = max(0, (out - 1) * stride + window - size - padding)
        self.size = size

    def starts(self, axis: int, shape: tuple[int, ...]) -> jax.Array:
        """The start of each window along `axis` of an array of `shape`; negative in padding."""
        return lax.broadcasted_iota(jnp.int32, shape, axis) * self.stride - self.before


def _geometry(x, window, strides, padding, ceil_mode) -> tuple[_Axis, _Axis]:
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(
            f"Pooling got {x.dtype} of shape {x.shape}.", "Give [N, H, W, C], floating point."
        )
    k, s, p = map(pair, (window, strides, padding))
    rows, columns = (_Axis(x.shape[1 + i], k[i], s[i], p[i], ceil_mode) for i in (0, 1))
    return rows, columns


class _Windows:
    """The windows of [N, H, W, C], read one place at a time.

    Attributes:
      places: rows and columns inside a window, in row order.
      can_miss: whether a window's first place may be padding.
    """

    def __init__(self, x: jax.Array, rows: _Axis, columns: _Axis):
        self._rows, self._columns = rows, columns
        self._shape = (x.shape[0], rows.out, columns.out, x.shape[3])
        self.can_miss = bool(rows.before or columns.before)
        self.places = list(itertools.product(range(rows.window), range(columns.window)))

    def padded(self, a: jax.Array, fill: float) -> jax.Array:
        """`a` [N, H, W, C] padded with `fill`, so that all windows are complete."""
        rows, columns = self._rows, self._columns
        around = (
            (0, 0, 0),
            (rows.before, rows.after, 0),
            (columns.before, columns.after, 0),
            (0, 0, 0),
        )
        return lax.pad(a, jnp.array(fill, a.dtype), around)

    def of_padded(self, padded: jax.Array, place: tuple[int, int]) -> jax.Array:
        """The values at `place` of every window, [N, H', W', C]."""
        (dy, dx), rows, columns = place, self._rows, self._columns
        last = (dy + (rows.out - 1) * rows.stride, dx + (columns.out - 1) * columns.stride)
        return lax.slice(
            padded,
            (0, dy, dx, 0),
            (padded.shape[0], last[0] + 1, last[1] + 1, padded.shape[3]),
            (1, rows.stride, columns.stride, 1),
        )

    def at(self, a: jax.Array, place: tuple[int, int], fill: float) -> jax.Array:
        """`of_padded` for an array that is not padded yet."""
        return self.of_padded(self.padded(a, fill), place)

    def inside(self, place: tuple[int, int]) -> jax.Array | bool:
        """Which windows have that place in the image, or beyond its bottom or right edge."""
        if not self.can_miss:
            return True
        top, left = self._at(place)
        return (top >= 0) & (left >= 0)

    def index(self, place: tuple[int, int]) -> jax.Array:
        """The place as `h * W + w` of `x`."""
        top, left = self._at(place)
        return top * self._columns.size + left

    def _at(self, place):
        starts = self._rows.starts(1, self._shape), self._columns.starts(2, self._shape)
        return tuple(start + i for start, i in zip(starts, place, strict=True))


def _is_even(size) -> bool:
    """Whether a known size is even; False for a symbolic one."""
    return isinstance(size, int) and size % 2 == 0


def _pool(x, rows: _Axis, columns: _Axis, at=None):
    """Maxima and their indices, by comparing the values at each place in the window.

    Args:
      x: [N, H, W, C].
      rows, columns: the windows.
      at: returns the values of `x` at a place, [N, H', W', C]; None: strided slices.
    """
    windows = _Windows(x, rows, columns)
    at = at or windows.of_padded
    padded, (first, *others) = windows.padded(x, -jnp.inf), windows.places
    best, where, found = at(padded, first), windows.index(first), None
    if windows.can_miss:
        found = windows.inside(first)
    for place in others:
        value = at(padded, place)
        better = (value > best) | (jnp.isnan(value) & ~jnp.isnan(best))
        if found is not None:  # the first place in the image wins over padding, even with -inf
            inside = windows.inside(place)
            better |= inside & ~found
            found |= inside
        best = jnp.where(better, value, best)
        where = jnp.where(better, windows.index(place), where)
    return best, where
