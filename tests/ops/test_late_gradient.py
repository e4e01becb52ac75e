import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.distributed.mesh import replicated, split_batch
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.late_gradient import gradient_after, late_conv2d

slow = pytest.mark.slow


def arrays(k, size, dtype=np.float32):
    rng = np.random.default_rng(k)
    shapes = (2, *size, 6), (k, k, 6, 5), (2, *size, 6)
    a, kernel, change = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)
    return a, kernel, change


def loss(a, kernel, change, padding, late):
    """Of a network with something before and after the convolution; `late`, whether it is so."""
    a = jnp.sin(a)
    if late:
        a, late = gradient_after(a, kernel, a.shape, padding)
        y = late_conv2d(jnp.cos(a) * change, kernel, late, padding)
    else:
        y = conv2d(jnp.cos(a) * change, kernel, padding)
    y = y.astype(jnp.float32)
    return jnp.sum(jnp.sin(y) + y * jnp.arange(y.shape[-1]))


def close(got, want, tolerance):
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        g, w = np.asarray(g, np.float32), np.asarray(w, np.float32)
        np.testing.assert_allclose(g, w, rtol=0, atol=tolerance * np.abs(w).max())


def both(transformed, inputs, tolerance=1e-5):
    """Compares `transformed(loss)` with late gradient and without."""
    got, want = (
        jax.jit(transformed(lambda *xs, late=late: loss(*xs, late=late)), static_argnums=3)(*inputs)
        for late in (True, False)
    )
    close(got, want, tolerance)


@pytest.mark.parametrize(
    ("k", "padding", "size", "dtype"),
    [
        (7, 0, (9, 8), "float32"),
        pytest.param(7, 3, (4, 1), "bfloat16", marks=slow),
        pytest.param(1, 0, (3, 4), "float32", marks=slow),
        pytest.param(3, 1, (5, 4), "float32", marks=slow),
        pytest.param(3, 1, (5, 4), "bfloat16", marks=slow),
        pytest.param(5, 1, (6, 8), "float32", marks=slow),
    ],
)
def test_value_and_gradients_are_those_of_the_convolution(k, padding, size, dtype):
    inputs = (*arrays(k, size, dtype), padding)
    both(lambda f: jax.value_and_grad(f, (0, 1)), inputs, 1e-5 if dtype == "float32" else 0.02)


def test_on_other_platforms_as_well(other_platforms_form):
    inputs = (*arrays(5, (6, 8)), 1)
    both(lambda f: jax.value_and_grad(f, (0, 1)), inputs)


@pytest.mark.slow
def test_where_devices_share_the_batch(mesh):
    a, kernel, change = arrays(7, (9, 8))
    a, change = (jnp.tile(x, (4, 1, 1, 1)) for x in (a, change))
    split, whole = split_batch(mesh), replicated(mesh)
    inputs = jax.device_put(a, split), jax.device_put(kernel, whole), jax.device_put(change, split)
    both(lambda f: jax.value_and_grad(f, (0, 1)), (*inputs, 0))


@pytest.mark.slow
def test_for_each_image_by_itself():
    a, kernel, change = arrays(7, (9, 8))

    def one_by_one(f):
        def gradients(a, kernel, change, padding):
            each = jax.grad(f, 1)
            return jax.vmap(lambda a, c: each(a[None], kernel, c[None], padding))(a, change)

        return gradients

    both(one_by_one, (a, kernel, change, 0))


@slow
def test_second_derivatives():
    def product_with_hessian(f):
        def along(a, kernel, change, padding):
            slope = jax.grad(f, (0, 1))
            return jax.grad(
                lambda a, k: sum((g**2).sum() for g in slope(a, k, change, padding)), (0, 1)
            )(a, kernel)

        return along

    both(product_with_hessian, (*arrays(7, (9, 8)), 0))


def test_nothing_is_made_of_what_needs_no_gradient():
    @jax.custom_vjp
    def early(a):
        return a

    def refuse(_, gradient):
        raise AssertionError("The gradient of what is early was asked for.")

    early.defvjp(lambda a: (a, None), refuse)
    a, kernel, _ = arrays(7, (9, 8))

    def frozen(kernel, a):
        a, late = gradient_after(a, kernel, a.shape, 0)
        return late_conv2d(jax.lax.stop_gradient(early(a)), kernel, late, 0).sum()

    def frozen_by_argument(kernel, a):
        a, late = gradient_after(a, kernel, a.shape, 0)
        return late_conv2d(early(a), kernel, late, 0).sum()

    want = jax.grad(lambda kernel: conv2d(a, kernel, 0).sum())(kernel)
    close(jax.grad(frozen)(kernel, a), want, 1e-5)
    close(jax.grad(frozen_by_argument)(kernel, a), want, 1e-5)
    # a kernel that is not trained leaves the other gradient what it is
    got = jax.grad(lambda a: loss(a, kernel, a, 0, True))(a)
    close(got, jax.grad(lambda a: loss(a, kernel, a, 0, False))(a), 1e-5)
