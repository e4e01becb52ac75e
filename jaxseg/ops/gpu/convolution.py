"""Convolution for cuDNN and cuBLAS, with gradients that XLA maps to efficient kernels.

Figures of XLA's compiler for an H200 (jax 0.10.2, bfloat16, one layer with its gradients and a step
of SGD with momentum):

- A 1×1 kernel as a matrix product: for 22×22 cells of 4,096 channels, 627 MB and 6 launches instead
  of 1,298 MB and 12. cuDNN needs a kernel in the order [O, k, k, I], which XLA also gives to the
  momentum: parameter and momentum are transposed twice at every step.
- A kernel larger than its windows (FCN's fc6) as a matrix product: 3.2 GB instead of 7.1.
- Other kernels with a gradient in the memory order of the parameter (`laid_out`): 175 MB and 8
  launches instead of 256 MB and 13 (3×3, 512 to 512 channels, 44×44 cells).
- A padding larger than the kernel's reach (FCN's conv1_1) as a separate step behind a barrier.
  Otherwise XLA computes the kernel's gradient as a forward convolution with a window of the whole
  map, 500×500.
- The gradient of a dilated 3×3 kernel over d² images of every d-th cell. Otherwise it becomes a
  convolution with a window of 60×60.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    padding: int,
    strides: int,
    dilation: int,
    precision: lax.PrecisionLike,
) -> jax.Array:
    """See `jaxseg.ops.convolution.conv2d`; for one group."""
    k = kernel.shape[0]
    if k == 1 and not padding:
        return jnp.dot(x[:, ::strides, ::strides], kernel[0, 0], precision=precision)
    if _as_matrix(x, kernel, padding, strides, dilation):
        return _matrix_product(x, kernel, precision)
    kernel = laid_out(kernel)
    if 2 * padding > dilation * (k - 1):
        around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        x, padding = lax.optimization_barrier(jnp.pad(x, around)), 0
    if dilation > 1 and k == 3 and strides == 1 and padding == dilation:
        return _dilated(x, kernel, dilation, precision)
    return _plain(x, kernel, padding, strides, dilation, precision)


@jax.custom_jvp
def laid_out(kernel: jax.Array) -> jax.Array:
    """`kernel`; the memory order of its gradient is the order of its axes."""
    return kernel


@laid_out.defjvp
def _laid_out_jvp(primals, tangents):
    (kernel,), (tangent,) = primals, tangents
    return kernel, with_layout_constraint(tangent, Layout(tuple(range(tangent.ndim))))


def _as_matrix(x, kernel, padding, strides, dilation) -> bool:
    """Whether the kernel is larger than all of its input windows together."""
    k = kernel.shape[0]
    if padding or strides > 1 or dilation > 1 or not all(isinstance(n, int) for n in x.shape):
        return False
    n, height, width, inputs = x.shape
    return n * (height - k + 1) * (width - k + 1) * k * k * inputs <= kernel.size


def _matrix_product(x, kernel, precision):
    k, _, inputs, outputs = kernel.shape
    height, width = (n - k + 1 for n in x.shape[1:3])
    places = itertools.product(range(k), repeat=2)
    windows = jnp.concatenate([x[:, i : i + height, j : j + width] for i, j in places], axis=-1)
    return jnp.dot(windows, kernel.reshape(k * k * inputs, outputs), precision=precision)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _dilated(x, kernel, dilation, precision):
    """A dilated 3×3 convolution that keeps the map's size."""
    return _plain(x, kernel, dilation, 1, dilation, precision)


@_dilated.defjvp
def _dilated_jvp(dilation, precision, primals, tangents):
    (x, kernel), (dx, dkernel) = primals, tangents
    by_x = _plain(dx, kernel, dilation, 1, dilation, precision)
    apart = _plain(_apart(x, dilation), dkernel, 1, 1, 1, precision)
    return _dilated(x, kernel, dilation, precision), by_x + _joined(apart, dilation, x.shape)


def _apart(x, d):
    """[N, h, w, C] to [N * d², h / d, w / d, C]: images of every d-th row and column."""
    n, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % d), (0, -width % d), (0, 0)))
    height, width = x.shape[1] // d, x.shape[2] // d
    x = x.reshape(n, height, d, width, d, channels).transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(n * d * d, height, width, channels)


def _joined(x, d, shape):
    """The inverse of `_apart`, for an original array of `shape`."""
    n, height, width, _ = shape
    _, rows, columns, channels = x.shape
    x = x.reshape(n, d, d, rows, columns, channels).transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(n, rows * d, columns * d, channels)[:, :height, :width]


def _plain(x, kernel, padding, strides, dilation, precision):
    return lax.conv_general_dilated(
        x,
        kernel,
        (strides, strides),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )
