"""Max pooling as Caffe and PyTorch define it: rounding up, padding that never wins, ties to the first."""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.errors import InputError

Pair = int | tuple[int, int]


def max_pool(
    x: jax.Array, window: Pair, strides: Pair, padding: Pair = 0, *, ceil_mode: bool = False
) -> jax.Array:
    """Max pooling over height and width.

    Args:
      x: [N, H, W, C], floating point.
      window: rows and columns of a window.
      strides: steps between windows.
      padding: rows and columns of minus infinity put at each side.
      ceil_mode: whether the output size is rounded up (Caffe; the last window may hang over the edge, but
        never starts outside the padded input) or down.

    Returns:
      [N, H', W', C] in the dtype of `x`. The gradient goes to the first largest value of a window in row order.

    >>> x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    >>> max_pool(x, 2, 2).ravel().tolist(), max_pool(x, 2, 2, ceil_mode=True).ravel().tolist()
    ([4.0], [4.0, 5.0, 7.0, 8.0])
    """
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

    # On CPU the gradient of reduce_window is many times slower than that of comparing slices.
    return lax.platform_dependent(
        x, cpu=lambda x: _pool(x, rows, columns)[0], default=reduce_window
    )


def max_pool_with_argmax(
    x: jax.Array, window: Pair, strides: Pair, padding: Pair = 0, *, ceil_mode: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Max pooling that also says where each maximum stood.

    Args:
      x: [N, H, W, C], floating point.
      window, strides, padding, ceil_mode: as in `max_pool`.

    Returns:
      values [N, H', W', C] in the dtype of `x`, and indices [N, H', W', C] int32: `h * W + w` of the maximum
      inside its own plane of `x` (Caffe's pooling mask, PyTorch's `return_indices`), ties to the first in row order.

    >>> values, indices = max_pool_with_argmax(jnp.array([[1.0, 3.0], [3.0, 2.0]]).reshape(1, 2, 2, 1), 2, 2)
    >>> values.item(), indices.item()
    (3.0, 1)
    """
    return _pool(x, *_geometry(x, window, strides, padding, ceil_mode))


class _Axis:
    """One axis of a pooling: its window, stride, output size and the padding that makes windows whole."""

    def __init__(self, size: int, window: int, stride: int, padding: int, ceil_mode: bool):
        span = size + 2 * padding - window
        if min(window, stride) < 1 or not 0 <= padding < window or span < 0:
            raise InputError(
                f"A window of {window} with stride {stride} and padding {padding} does not fit {size} pixels.",
                "Give a larger image, a smaller window, or a padding below the window.",
            )
        out = (-(-span // stride) if ceil_mode else span // stride) + 1
        if ceil_mode and (out - 1) * stride >= size + padding:
            out -= 1  # a window must start inside the image or its leading padding
        self.window, self.stride, self.out = window, stride, out
        self.before = padding
        self.after = (out - 1) * stride + window - size - padding  # negative: rows no window reaches


def _geometry(x, window, strides, padding, ceil_mode) -> tuple[_Axis, _Axis]:
    if x.ndim != 4:
        raise InputError(f"Pooling got an array of shape {x.shape}.", "Give [N, H, W, C].")
    pairs = [(v, v) if isinstance(v, int) else v for v in (window, strides, padding)]
    rows, columns = zip(*pairs, strict=True)
    return _Axis(x.shape[1], *rows, ceil_mode), _Axis(x.shape[2], *columns, ceil_mode)


def _pool(x, rows: _Axis, columns: _Axis):
    """Compares one strided slice for each place in the window; the first of equals stays."""
    low = jnp.array(-jnp.inf, x.dtype)
    around = ((0, 0, 0), (rows.before, rows.after, 0), (columns.before, columns.after, 0), (0, 0, 0))
    padded = lax.pad(x, low, around)
    n, _, _, c = x.shape
    best = index = None
    for dy, dx in itertools.product(range(rows.window), range(columns.window)):
        tap = lax.slice(
            padded,
            (0, dy, dx, 0),
            (n, dy + (rows.out - 1) * rows.stride + 1, dx + (columns.out - 1) * columns.stride + 1, c),
            (1, rows.stride, columns.stride, 1),
        )
        y = lax.broadcasted_iota(jnp.int32, tap.shape, 1) * rows.stride + (dy - rows.before)
        z = lax.broadcasted_iota(jnp.int32, tap.shape, 2) * columns.stride + (dx - columns.before)
        place = y * x.shape[2] + z
        if best is None:
            best, index = tap, place
        else:
            # a place in the padding must not win over a real minus infinity: compare strictly, but let
            # the first real place replace padding
            outside = (index < 0) if rows.before or columns.before else False
            better = (tap > best) | jnp.isnan(tap) & ~jnp.isnan(best) | outside
            best, index = jnp.where(better, tap, best), jnp.where(better, place, index)
    return best, index
