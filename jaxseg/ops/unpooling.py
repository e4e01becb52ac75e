"""Max unpooling: writes values to the positions of their maxima, and zeros everywhere else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxseg.errors import InputError
from jaxseg.ops.checks import as_array
from jaxseg.ops.cpu import unpooling as cpu
from jaxseg.ops.dispatch import dispatch, on_any_mesh
from jaxseg.ops.pooling import Pair, pair
from jaxseg.ops.tpu import unpooling as tpu


@on_any_mesh("batch")
def max_unpool(
    values: ArrayLike, indices: ArrayLike, size: Pair, *, in_place: bool | None = None
) -> jax.Array:
    """Writes each value to its index, in planes of zeros (DeconvNet, section 3.2.1).

    The inverse of `max_pool_with_argmax`, like Caffe's Unpooling layer and PyTorch's
    `max_unpool2d`. If several values have the same index, the last in row order is kept, on every
    platform. The gradient is a gather: each value receives the gradient at its index, even if
    another value was kept there.

    If the indices come from 2×2 windows with stride 2 and without padding, no two windows share a
    position. Four comparisons then replace the scatter, with bit-identical results and much faster.
    The shapes do not show whether this holds (3×3 pooling with stride 2 gives the same ones), so
    the program checks the indices at run time, and `lax.cond` selects the faster form if all are in
    their own 2×2 windows. A caller who knows can set `in_place` and skip the check.

    Args:
      values: [N, h, w, C], floating point.
      indices: [N, h, w, C] integers, `y * W + x` inside a plane (Caffe's pooling mask, PyTorch's
        `return_indices`). Outside `jit`, where they are known, an index outside the plane is an
        error; under `jit` its value is dropped.
      size: (H, W) of the result, one number for both or a pair: the size before pooling, which h
        and w do not determine if it was odd.
      in_place: None: check the indices; True: they come from `max_pool_with_argmax(x, 2, 2)`, with
        or without `ceil_mode`, for an `x` of this size (a value with another index is dropped);
        False: use the scatter.

    Returns:
      [N, H, W, C] in the dtype of `values`.

    Raises:
      InputError: the shapes of indices and values differ, an index is known to be outside the
        plane, or `in_place` does not fit the sizes.

    >>> values, indices = jnp.array([[[[7.0]]]]), jnp.array([[[[3]]]])
    >>> max_unpool(values, indices, (2, 3))[0, :, :, 0].tolist()
    [[0.0, 0.0, 0.0], [7.0, 0.0, 0.0]]
    """
    values, indices = as_array(values), as_array(indices)
    size = pair(size)
    _check(values, indices, size)
    indices = indices.astype(jnp.int32)
    fits = all(2 * n - 1 <= m <= 2 * n + 1 for n, m in zip(values.shape[1:3], size, strict=True))
    if in_place and not fits:
        raise InputError(
            f"Non-overlapping 2×2 pooling of {size[0]}×{size[1]} does not give "
            f"{values.shape[1]}×{values.shape[2]}.",
            "Give the size before pooling, or do not set in_place.",
        )
    if in_place is None and fits and values.size:
        return jax.lax.cond(
            _all_in_place(indices, size),
            functools.partial(_select, size=size),
            functools.partial(_scatter, size=size),
            values,
            indices,
        )
    return (_select if in_place else _scatter)(values, indices, size)


def _check(values, indices, size):
    if values.ndim != 4 or values.shape != indices.shape:
        raise InputError(
            f"Unpooling got values of shape {values.shape} and indices of shape {indices.shape}.",
            "Give both as returned by max_pool_with_argmax: [N, h, w, C].",
        )
    if not (
        jnp.issubdtype(values.dtype, jnp.floating) and jnp.issubdtype(indices.dtype, jnp.integer)
    ):
        raise InputError(
            f"Unpooling got {values.dtype} values and {indices.dtype} indices.",
            "Give floating-point values and integer indices.",
        )
    if isinstance(indices, jax.core.Tracer) or not getattr(indices, "is_fully_addressable", True):
        return
    known = np.asarray(indices)
    if known.size and not 0 <= known.min() <= known.max() < size[0] * size[1]:
        raise InputError(
            f"The indices range from {known.min()} to {known.max()}, but a plane of "
            f"{size[0]}×{size[1]} has indices 0 to {size[0] * size[1] - 1}.",
            "Give the size before pooling.",
        )


def _all_in_place(indices, size):
    """Whether every index lies in its own 2×2 window."""
    rows = jax.lax.broadcasted_iota(jnp.int32, indices.shape, 1)
    columns = jax.lax.broadcasted_iota(jnp.int32, indices.shape, 2)
    row, column = indices // size[1], indices % size[1]
    return ((row // 2 == rows) & (column // 2 == columns) & (row < size[0])).all()


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _scatter(values, indices, size):
    """For any indices: finds the last value with each index by a segment maximum."""
    n, h, w, c = values.shape
    order = jnp.arange(h * w, dtype=jnp.int32)

    def plane(values, indices):
        """[h * w], [h * w] to [H * W]."""
        last = jax.ops.segment_max(order, indices, num_segments=size[0] * size[1])
        return jnp.where(last >= 0, values[jnp.maximum(last, 0)], 0)

    return _planes(plane, values, indices, size)


@_scatter.defjvp
def _scatter_jvp(size, primals, tangents):
    """Adds each tangent at its index; the transpose of this sum is a gather."""
    (values, indices), dvalues = primals, tangents[0]

    def plane(dvalues, indices):
        return jax.ops.segment_sum(dvalues, indices, num_segments=size[0] * size[1])

    return _scatter(values, indices, size), _planes(plane, dvalues, indices, size)


def _planes(plane, values, indices, size):
    """Applies `plane` to each image and channel."""
    n, h, w, c = values.shape
    indices = jnp.where(indices < 0, size[0] * size[1], indices)  # not a segment: dropped
    each = jax.vmap(jax.vmap(plane, in_axes=1, out_axes=1))
    out = each(values.reshape(n, h * w, c), indices.reshape(n, h * w, c))
    return out.reshape(n, *size, c)


def _select(values, indices, size):
    """For indices inside their own 2×2 windows: compares each place of a window with the index."""
    rows = jax.lax.broadcasted_iota(jnp.int32, indices.shape, 1)
    columns = jax.lax.broadcasted_iota(jnp.int32, indices.shape, 2)
    inside = indices - (2 * rows * size[1] + 2 * columns)  # relative to the window's first place
    places = (0, 1, size[1], size[1] + 1)

    def in_windows(values, inside):
        """[N, h, w, C] to [N, h, 2, w, 2, C]."""
        at = jnp.array(places, jnp.int32).reshape(1, 1, 2, 1, 2, 1)
        at = inside[:, :, None, :, None, :] == at
        return jnp.where(at, values[:, :, None, :, None, :], 0)

    def for_cpu(values, inside):
        return cpu.with_own_gradient(values, inside, in_windows, places)

    windows = dispatch(
        "max_unpool",
        values,
        inside,
        reference=in_windows,
        cpu=for_cpu,
        tpu=functools.partial(tpu.joined, places=places),
        across_devices=("tpu",),
    )
    n, h, _, w, _, c = windows.shape
    out = windows.reshape(n, 2 * h, 2 * w, c)[:, : size[0], : size[1]]
    missing = [(0, m - k) for m, k in zip(size, out.shape[1:3], strict=True)]
    return out if missing == [(0, 0), (0, 0)] else jnp.pad(out, [(0, 0), *missing, (0, 0)])
