"""Convolution in each platform's best form: XLA's own on GPU and TPU, matrix products on CPU.

XLA's CPU convolution is fast forwards, but its gradients are not: that of a large kernel's input
(fc6's 7×7) is a hundred times slower than the matrix product that it equals, and those of small
kernels two to four times. The forms below are the same sums in another order.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.ops.order import zero_after
from jaxseg.ops.winograd import pays, winograd, winograd_kernel_gradient

_BAND_CELLS = 1_024  # of a band, in a kernel's gradient
_NARROW = 192  # columns up to which places share a product there


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    padding: int = 0,
    *,
    strides: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """Convolution (cross-correlation) over height and width.

    Args:
      x: [N, H, W, I], floating point.
      kernel: [k, k, I / groups, O] in the dtype of `x`.
      padding: rows and columns of zeros put at each side.
      strides: steps between windows.
      dilation: steps between the taps of a window.
      groups: parts that the channels fall into, each convolved by itself.

    Returns:
      [N, H', W', O] in the dtype of `x`, with
      H' = (H + 2 * padding - dilation * (k - 1) - 1) // strides + 1.

    >>> conv2d(jnp.ones([1, 3, 3, 1]), jnp.ones([3, 3, 1, 1]), 1)[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    if strides > 1 and kernel.shape[0] == 1 and not padding:
        x, strides = x[:, ::strides, ::strides], 1  # a 1×1 kernel looks at nothing between
    if strides == groups == 1:
        return _dense(x, kernel, padding, dilation if kernel.shape[0] > 1 else 1)
    return lax.conv_general_dilated(
        x,
        kernel,
        (strides, strides),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _dense(x, kernel, padding, dilation):
    """The plain case: stride 1, no groups."""
    form = _as_matrix_product if kernel.shape[0] != 3 else _three
    how = {"padding": padding, "dilation": dilation}
    return lax.platform_dependent(
        x, kernel, cpu=functools.partial(form, **how), default=functools.partial(_xla, **how)
    )


def _forward(x, kernel, padding, dilation):
    return _dense(x, kernel, padding, dilation), (x, kernel)


def _backward(padding, dilation, saved, dy):
    x, kernel = saved
    how = {"padding": padding, "dilation": dilation}

    def xla(x, kernel, dy):
        return jax.vjp(functools.partial(_xla, **how), x, kernel)[1](dy)

    def cpu(x, kernel, dy):
        if kernel.shape[0] == 3:
            dx = _three_input_gradient(x, kernel, dy, **how)
            return dx, _three_kernel_gradient(x, dy, _known(dx, x, dy), **how)
        # in float32, for the sums over windows and images would be bfloat16
        wide = [a.astype(jnp.float32) for a in (x, kernel, dy)]
        dx, dkernel = gradients_in_turn(functools.partial(_as_matrix_product, **how), *wide)
        return dx.astype(x.dtype), dkernel.astype(x.dtype)

    return lax.platform_dependent(x, kernel, dy, cpu=cpu, default=xla)


_dense.defvjp(_forward, _backward)


def _xla(x, kernel, *, padding, dilation):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _as_matrix_product(x, kernel, *, padding, dilation):
    """Every window as a row of a matrix (im2col), times the kernel as a matrix."""
    k, _, inputs, outputs = kernel.shape
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = (n - dilation * (k - 1) for n in x.shape[1:3])
    places = itertools.product(range(0, dilation * k, dilation), repeat=2)
    taps = [x[:, i : i + height, j : j + width] for i, j in places]
    windows = jnp.concatenate(taps, axis=-1) if k > 1 else taps[0]
    return jnp.dot(windows, kernel.reshape(k * k * inputs, outputs))


def conv2d_kernel_gradient(x: jax.Array, dy: jax.Array, k: int, padding: int) -> jax.Array:
    """The gradient of `conv2d`'s kernel, [k, k, I, O], where that of its result is `dy`."""
    shape = (k, k, x.shape[-1], dy.shape[-1])
    how = {"padding": padding, "dilation": 1}

    def gradient(form, x, dy):
        zeros = jnp.zeros(shape, x.dtype)
        return jax.vjp(lambda kernel: form(x, kernel, **how), zeros)[1](dy)[0]

    def cpu(x, dy):
        if k == 3:
            return _three_kernel_gradient(x, dy, jnp.zeros((), x.dtype), **how)
        wide = gradient(_as_matrix_product, x.astype(jnp.float32), dy.astype(jnp.float32))
        return wide.astype(x.dtype)

    return lax.platform_dependent(x, dy, cpu=cpu, default=functools.partial(gradient, _xla))


def gradients_in_turn(form, x, kernel, dy):
    """Gradients of `form(x, kernel)`, linear in each: the kernel's when the input's is known."""
    dx = jax.vjp(lambda x: form(x, kernel), x)[1](dy)[0]
    known = _known(dx, x, dy)
    x, dy = (x + known, dy) if x.size < dy.size else (x, dy + known)
    return dx, jax.vjp(lambda kernel: form(x, kernel), kernel)[1](dy)[0]


def _known(dx, x, dy):
    """A zero that is there as soon as `dx` is, for what makes the kernel's gradient.

    A kernel's gradient that waits for the input's leaves the kernel to be updated where it lies: no
    one reads it any more. And what it makes of `x` is not made, and kept, on the way forwards.
    """
    last = dy if x.shape[-1] <= 4 else dx  # no one wants an image's gradient
    return zero_after(last)


def _three(x, kernel, *, padding, dilation):
    """A 3×3 kernel."""
    how = {"padding": padding, "dilation": dilation}
    if _by_winograd(x, kernel.shape[-1]):
        return _by_shares(x, kernel, **how)
    return _xla(x, kernel, **how)


def _three_input_gradient(x, kernel, dy, *, padding, dilation):
    """It is a convolution of `dy` itself, with the kernel turned round."""
    around = 2 * dilation - padding
    if around >= 0 and _by_winograd(x, kernel.shape[-1]):
        how = {"padding": around, "dilation": dilation, "turned": True}
        return _by_shares(dy, kernel, **how)
    how = {"padding": padding, "dilation": dilation}
    return jax.vjp(lambda x: _xla(x, kernel, **how), x)[1](dy)[0]


def _three_kernel_gradient(x, dy, known, *, padding, dilation):
    how = {"padding": padding, "dilation": dilation}
    form: Callable = functools.partial(_kernel_gradient, start=known, **how)
    if _by_winograd(x, dy.shape[-1]):
        form, x = functools.partial(winograd_kernel_gradient, **how), x + known
    if _sharing(x) > 1:
        return jax.vmap(form)(_shares(x), _shares(dy)).sum(axis=0)
    return form(x, dy)


def _by_winograd(x, outputs):
    # Where a batch cannot be shared out XLA's own form divides the work among the devices.
    return pays(x, outputs) and (jax.device_count() == 1 or _sharing(x) > 1)


def _sharing(x):
    """Devices that share the batch.

    Each works through its own images: a loop over the bands of all of them would make every device
    fetch and work through the whole batch.
    """
    devices = jax.device_count()
    return devices if x.shape[0] % devices == 0 else 1


def _shares(x):
    return x.reshape(_sharing(x), -1, *x.shape[1:])


def _by_shares(x, kernel, **how):
    """`winograd` of a batch, each device's share by itself."""
    kernel = kernel + zero_after(x)  # or all kernels would be transformed first, and kept
    if _sharing(x) == 1:
        return winograd(x, kernel, **how)
    shares = jax.vmap(lambda x: winograd(x, kernel, **how))(_shares(x))
    return shares.reshape(-1, *shares.shape[2:])


def _kernel_gradient(x, dy, *, start, padding, dilation):
    """Gradient of a 3×3 kernel with few channels: a product for each place, image and band of rows.

    It is added to `start`, a scalar.

    In a band whose rows are padded to one length and laid end to end, moving by a place of the
    kernel is moving by a number of cells, so no window is ever gathered. A band is some thousand
    cells: enough for a product, and few enough that nine copies of it are little memory.
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
