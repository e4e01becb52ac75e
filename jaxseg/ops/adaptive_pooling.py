"""Adaptive pooling: any map into a fixed number of windows, PSPNet's pyramid (section 3.2)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxseg.errors import InputError
from jaxseg.ops.checks import as_array
from jaxseg.ops.dispatch import on_any_mesh
from jaxseg.ops.upsampling import apply_axis


@on_any_mesh("batch")
def adaptive_avg_pool(
    x: ArrayLike, size: int | tuple[int, int], extent: ArrayLike | None = None
) -> jax.Array:
    """The mean of each of `size` windows, for a map of any size.

    Window i of b reads rows floor(i * H / b) to ceil((i + 1) * H / b), excluding the last. Windows
    tile the map if b divides H (Caffe's PSPNet at its published sizes), share rows if it does not,
    and repeat rows if b is above H. The same holds for columns. Equal to PyTorch's
    `AdaptiveAvgPool2d`; a separable linear map with two small matrices.

    Args:
      x: [N, H, W, C], floating point; an infinite or NaN value can also affect windows near it.
      size: number of windows along height and width, one number for both or a pair.
      extent: [N, 2] integers, the rows and columns of each map to pool; None: all.

    Returns:
      `[N, *size, C]` in the dtype of `x`; summed in float32 and rounded once at the end.

    Raises:
      InputError: `x` is not such an array, or a size is below 1.

    >>> x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    >>> adaptive_avg_pool(x, 2).ravel().tolist()
    [2.0, 3.0, 5.0, 6.0]
    """
    x = as_array(x)
    return _over_windows(_mean, x, [size], extent)[0]


@on_any_mesh("batch")
def adaptive_avg_pools(
    x: jax.Array, sizes: Sequence[int | tuple[int, int]], extent: jax.Array | None = None
) -> list[jax.Array]:
    """`adaptive_avg_pool` into each of `sizes`, reading the map once.

    The gradients of all levels are added before they are spread over the map. This needs one array
    of the map's size instead of one per level.

    >>> x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    >>> [y.ravel().tolist() for y in adaptive_avg_pools(x, [1, 2])]
    [[4.0], [2.0, 3.0, 5.0, 6.0]]
    """
    return _over_windows(_mean, x, sizes, extent)


@on_any_mesh("batch")
def adaptive_max_pool(
    x: ArrayLike, size: int | tuple[int, int], extent: ArrayLike | None = None
) -> jax.Array:
    """The maximum of each of `size` windows; the windows are those of `adaptive_avg_pool`.

    Equal to PyTorch's `AdaptiveMaxPool2d`.

    Args:
      x: [N, H, W, C], floating point.
      size: number of windows along height and width, one number for both or a pair.
      extent: [N, 2] integers, the rows and columns of each map to pool; None: all.

    Returns:
      `[N, *size, C]` in the dtype of `x`. The gradient goes to the first largest value of a window
      in row order.

    Raises:
      InputError: `x` is not such an array, or a size is below 1.

    >>> x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    >>> adaptive_max_pool(x, (1, 2)).ravel().tolist()
    [7.0, 8.0]
    """
    x = as_array(x)
    return _over_windows(_max, x, [size], extent)[0]


def _windows(length: int, counts: Sequence[int]) -> list[tuple[int, int]]:
    """The first row and the last + 1 of each window, for each of `counts` in order."""
    return [(i * length // n, -(-(i + 1) * length // n)) for n in counts for i in range(n)]


def _over_windows(
    reduce: Callable[[jax.Array, int, Any], jax.Array],
    x: jax.Array,
    sizes: Sequence[int | tuple[int, int]],
    extent: jax.Array | None,
) -> list[jax.Array]:
    pairs = [(size, size) if isinstance(size, int) else size for size in sizes]
    if x.ndim != 4 or 0 in x.shape or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(
            f"Pooling got {x.dtype} of shape {x.shape}.", "Give [N, H, W, C], floating point."
        )
    for rows, columns in pairs:
        if min(rows, columns) < 1:
            raise InputError(
                f"Pooling into {rows}×{columns} windows.", "Give 1 or more along each axis."
            )
    if extent is None and not all(isinstance(n, int) for n in x.shape[1:3]):
        # the map's size is symbolic in an exported program (`jax.export.symbolic_shape`)
        extent = jnp.broadcast_to(jnp.array(x.shape[1:3]), (x.shape[0], 2))
    windows: Callable = _windows
    if extent is None:
        height, width = x.shape[1:3]
    else:
        (height, width), windows = extent.T, _windows_of_each
        reduce = _mean_of_each if reduce is _mean else _max_of_each
    if not pairs:
        return []
    # Columns first: on ties, the first column in each row, then the first row, gives row order.
    down, across = zip(*pairs, strict=True)
    parts = jnp.split(reduce(x, 2, windows(width, across)), np.cumsum(across)[:-1], axis=2)
    pooled = (reduce(y, 1, windows(height, [n])) for y, n in zip(parts, down, strict=True))
    return [y.astype(x.dtype) for y in pooled]


def _mean(x, axis, windows):
    """Sums by a matrix of zeros and ones, exact in any dtype, then divides in float32."""
    sums, counts = np.zeros((len(windows), x.shape[axis]), np.float32), []
    for row, (start, stop) in zip(sums, windows, strict=True):
        row[start:stop] = 1
        counts.append(stop - start)
    shape = [1, 1, 1, 1]
    shape[axis] = len(windows)
    total = apply_axis(sums, x, axis, dtype=jnp.promote_types(x.dtype, jnp.float32))
    return total / np.asarray(counts, np.float32).reshape(shape)


def _max(x, axis, windows):
    """Gathers the windows, each extended to the longest by repeating its last element."""
    longest = max(stop - start for start, stop in windows)
    place = np.asarray(
        [np.minimum(start + np.arange(longest), stop - 1) for start, stop in windows]
    )
    values = jnp.take(x, place, axis=axis, mode="clip")
    first = jnp.argmax(values, axis=axis + 1, keepdims=True)  # receives the gradient
    return jnp.take_along_axis(values, first, axis=axis + 1).squeeze(axis + 1)


def _windows_of_each(lengths: jax.Array, counts: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """`_windows` for lengths [N]: first and last + 1, both [N, windows]."""
    n, i = np.repeat(counts, counts), np.concatenate([np.arange(count) for count in counts])
    return i * lengths[:, None] // n, -(-(i + 1) * lengths[:, None] // n)


def _mean_of_each(x, axis, windows):
    """`_mean` with separate windows for each image."""
    start, stop = (edge[:, :, None] for edge in windows)
    place = jnp.arange(x.shape[axis])
    inside = ((place >= start) & (place < stop)).astype(jnp.float32)  # [N, count, length]
    spec = {1: "nbh,nhwc->nbwc", 2: "nbw,nhwc->nhbc"}[axis]
    total = jnp.einsum(spec, inside, x.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
    return total / jnp.expand_dims(inside.sum(axis=-1), (3 - axis, 3))


def _max_of_each(x, axis, windows):
    """`_max` with separate windows for each image."""
    place = jnp.expand_dims(jnp.arange(x.shape[axis]), (0, 3 - axis, 3))

    def window(i):
        start, stop = (edge[:, i, None, None, None] for edge in windows)
        inside = (place >= start) & (place < stop)
        return jnp.where(inside, x, -jnp.inf).max(axis=axis)

    return jnp.stack([window(i) for i in range(windows[0].shape[1])], axis=axis)
