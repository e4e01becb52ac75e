"""Convolution at stride 1 by matrix products.

XLA's CPU convolution is fast in the forward pass, but its gradients are slow. The input gradient of
a large kernel (fc6's 7×7) takes a hundred times as long as the equal matrix product, and gradients
of small kernels take two to four times as long. The forms below compute the same sums in another
order.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jaxseg.ops.cpu.kernel_gradient import kernel_gradient
from jaxseg.ops.cpu.order import zero_after
from jaxseg.ops.cpu.winograd import pays, winograd, winograd_kernel_gradient


def has_form(k: int, padding: int, strides: int) -> bool:
    """Whether `conv2d` below supports a k×k kernel with this padding and these strides."""
    return strides == 1 or (k == 1 and not padding)


def conv2d(
    x: jax.Array, kernel: jax.Array, *, padding: int, strides: int, dilation: int
) -> jax.Array:
    """See `jaxseg.ops.convolution.conv2d`; requires `has_form`."""
    if strides > 1:
        x = x[:, ::strides, ::strides]  # a 1×1 kernel reads no pixels in between
    return _conv2d(x, kernel, padding, dilation if kernel.shape[0] > 1 else 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d(x, kernel, padding, dilation):
    form = _as_matrix_product if kernel.shape[0] != 3 else _three
    return form(x, kernel, padding=padding, dilation=dilation)


def _forward(x, kernel, padding, dilation):
    return _conv2d(x, kernel, padding, dilation), (x, kernel)


def _backward(padding, dilation, saved, dy):
    x, kernel = saved
    how = {"padding": padding, "dilation": dilation}
    if kernel.shape[0] == 3:
        dx = _three_input_gradient(x, kernel, dy, **how)
        return dx, _three_kernel_gradient(x, dy, _known(dx, x, dy), **how)
    # in float32, because sums over windows and images in bfloat16 would be inexact
    wide = [a.astype(jnp.float32) for a in (x, kernel, dy)]
    dx, dkernel = gradients_in_turn(functools.partial(_as_matrix_product, **how), *wide)
    return dx.astype(x.dtype), dkernel.astype(x.dtype)


_conv2d.defvjp(_forward, _backward)


def _as_matrix_product(x, kernel, *, padding, dilation):
    """im2col: each window becomes a row of a matrix, multiplied by the kernel as a matrix."""
    k, _, inputs, outputs = kernel.shape
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = (n - dilation * (k - 1) for n in x.shape[1:3])
    places = itertools.product(range(0, dilation * k, dilation), repeat=2)
    taps = [x[:, i : i + height, j : j + width] for i, j in places]
    windows = jnp.concatenate(taps, axis=-1) if k > 1 else taps[0]
    return jnp.dot(windows, kernel.reshape(k * k * inputs, outputs))


def gradients_in_turn(form, x, kernel, dy):
    """Gradients of the bilinear `form(x, kernel)`: first that of `x`, then that of the kernel."""
    dx = jax.vjp(lambda x: form(x, kernel), x)[1](dy)[0]
    known = _known(dx, x, dy)
    x, dy = (x + known, dy) if x.size < dy.size else (x, dy + known)
    return dx, jax.vjp(lambda kernel: form(x, kernel), kernel)[1](dy)[0]


def _known(dx, x, dy):
    """A zero that depends on `dx`, added to an input of the kernel's gradient.

    If the kernel's gradient waits for the input's gradient, nothing reads the kernel any more, and
    it can be updated in place. The wait also keeps XLA from computing arrays derived from `x` in
    the forward pass and saving them.
    """
    return zero_after(dy if x.shape[-1] <= 4 else dx)  # an image's gradient is not computed


def _three(x, kernel, *, padding, dilation):
    if pays(x, kernel.shape[-1]):
        # after x: otherwise the kernels of all layers would be transformed first, and kept
        return winograd(x, kernel + zero_after(x), padding=padding, dilation=dilation)
    return _xla(x, kernel, padding=padding, dilation=dilation)


def _three_input_gradient(x, kernel, dy, *, padding, dilation):
    """A convolution of `dy` with the kernel rotated by 180 degrees."""
    around = 2 * dilation - padding
    if around >= 0 and pays(x, kernel.shape[-1]):
        kernel = kernel + zero_after(dy)
        return winograd(dy, kernel, padding=around, dilation=dilation, turned=True)
    how = {"padding": padding, "dilation": dilation}
    return jax.vjp(lambda x: _xla(x, kernel, **how), x)[1](dy)[0]


def _three_kernel_gradient(x, dy, known, *, padding, dilation):
    how = {"padding": padding, "dilation": dilation}
    if pays(x, dy.shape[-1]):
        return winograd_kernel_gradient(x + known, dy, **how)
    return kernel_gradient(x, dy, start=known, **how)


def _xla(x, kernel, *, padding, dilation):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
