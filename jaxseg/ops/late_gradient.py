"""A convolution whose kernel's gradient is made last, when the activations have been let go.

FCN's fc6 has 103 million parameters and comes late in the network, so that its gradient, 411 MB,
is made first in the backward pass and lies beside everything that the other layers keep. What it is
made of, the layer's input and the gradient of its result, is a hundredth of that.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxseg.ops.convolution import conv2d, conv2d_kernel_gradient
from jaxseg.ops.order import zero_after


class Late(NamedTuple):
    """Zeros that carry back, as their gradients, what the kernel's gradient is made of.

    Attributes:
      x: in the shape of the convolution's input.
      y: in the shape of its result.
    """

    x: jax.Array
    y: jax.Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def gradient_after(
    a: jax.Array, kernel: jax.Array, shape: tuple[int, int, int, int], padding: int
) -> tuple[jax.Array, Late]:
    """Puts the gradient of `kernel` off until that of `a` is there, on a CPU.

    Elsewhere nothing waits: there a gradient's way to the other devices is better begun early.
    Where `a` needs no gradient, none is made of it either.

    Args:
      a: an array from early in the network, floating point.
      kernel: [k, k, I, O] of a convolution that comes later, which is `late_conv2d`.
      shape: of that convolution's input.
      padding: of that convolution.

    Returns:
      `a`, to go on with, and what `late_conv2d` is to be given.
    """
    k, _, _, outputs = kernel.shape
    n, height, width, _ = shape
    rows, columns = (size + 2 * padding - k + 1 for size in (height, width))
    zeros = functools.partial(jnp.zeros, dtype=kernel.dtype)
    return a, Late(zeros(shape), zeros((n, rows, columns, outputs)))


@functools.partial(gradient_after.defjvp, symbolic_zeros=True)
def _gradient_after_jvp(shape, padding, primals, tangents):
    (a, kernel), (da, dkernel) = primals, tangents

    def run(a, kernel):
        return _waiting(a, kernel, shape, padding)

    if isinstance(dkernel, SymbolicZero):
        _, late = gradient_after(a, kernel, shape, padding)
        return (a, late), (da, jax.tree.map(lambda z: SymbolicZero(jax.typeof(z)), late))
    if isinstance(da, SymbolicZero):
        late, dlate = jax.jvp(lambda kernel: run(a, kernel)[1], (kernel,), (dkernel,))
        return (a, late), (da, dlate)
    return jax.jvp(run, primals, (da, dkernel))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _waiting(a, kernel, shape, padding):
    return gradient_after(a, kernel, shape, padding)


def _waiting_forward(a, kernel, shape, padding):
    return _waiting(a, kernel, shape, padding), kernel.shape[0]


def _waiting_backward(shape, padding, k, gradients):
    da, (x, dy) = gradients
    x = lax.platform_dependent(
        x, da, cpu=lambda x, da: x + zero_after(da).astype(x.dtype), default=lambda x, _: x
    )
    return da, conv2d_kernel_gradient(x, dy, k, padding)


_waiting.defvjp(_waiting_forward, _waiting_backward)


def late_conv2d(x: jax.Array, kernel: jax.Array, late: Late, padding: int) -> jax.Array:
    """`conv2d(x, kernel, padding)`; the kernel's gradient is made by `gradient_after`.

    >>> x, kernel = jnp.ones([1, 9, 9, 2]), jnp.ones([7, 7, 2, 3])
    >>> a, late = gradient_after(jnp.ones(4), kernel, x.shape, 0)
    >>> late_conv2d(x, kernel, late, 0)[0, 0, 0].tolist()
    [98.0, 98.0, 98.0]
    """
    return _convolved(x, kernel, late, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _convolved(x, kernel, late, padding):
    return conv2d(x, kernel, padding)


def _convolved_forward(x, kernel, late, padding):
    return conv2d(x, kernel, padding), (x, kernel)


def _convolved_backward(padding, saved, dy):
    x, kernel = saved
    dx = jax.vjp(lambda x: conv2d(x, kernel, padding), x)[1](dy)[0]
    return dx, None, Late(x, dy)


_convolved.defvjp(_convolved_forward, _convolved_backward)
