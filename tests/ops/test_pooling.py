import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.ops import max_pool, max_pool_with_argmax

GEOMETRIES = [  # window, strides, padding
    (2, 2, 0),
    (3, 2, 0),
    (3, 2, 1),
    (3, 1, 1),
    ((3, 2), (2, 1), (1, 0)),
    ((2, 5), (3, 2), (1, 2)),
    (1, 2, 0),
]
SIZES = [(7, 10), (5, 5)]
geometries = pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        pytest.param(*how, marks=() if i in (0, 2, 5, 6) else pytest.mark.slow)
        for i, how in enumerate(GEOMETRIES)
    ],
)
rounding = pytest.mark.parametrize("ceil_mode", [False, True])


def pair(v):
    return (v, v) if isinstance(v, int) else v


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def tied(*shape, seed=0):
    """Negative values with many ties."""
    return np.random.default_rng(seed).integers(-3, 0, shape).astype(np.float32)


def out_size(n, k, s, p, ceil_mode):
    """The output size of Caffe's pooling layer (PyTorch's where windows leave gaps)."""
    out = int((math.ceil if ceil_mode else math.floor)((n + 2 * p - k) / s)) + 1
    if (out - 1) * s >= n + p:
        out -= 1
    return out


def pool_loop(x, window, strides, padding, ceil_mode):
    """Pools window by window, over the part of each inside the image."""
    (kh, kw), (sh, sw), (ph, pw) = map(pair, (window, strides, padding))
    n, height, width, c = x.shape
    shape = (n, out_size(height, kh, sh, ph, ceil_mode), out_size(width, kw, sw, pw, ceil_mode), c)
    values, indices = np.zeros(shape, x.dtype), np.zeros(shape, np.int32)
    where = np.arange(height * width).reshape(height, width)
    for i in range(shape[1]):
        for j in range(shape[2]):
            rows = slice(max(i * sh - ph, 0), i * sh - ph + kh)
            columns = slice(max(j * sw - pw, 0), j * sw - pw + kw)
            flat = x[:, rows, columns].reshape(n, -1, c)
            best = flat.argmax(axis=1)  # the first of ties; the first NaN
            values[:, i, j] = np.take_along_axis(flat, best[:, None], 1)[:, 0]
            indices[:, i, j] = where[rows, columns].ravel()[best]
    return values, indices


@functools.cache
def compiled(window, strides, padding, ceil_mode):
    """A function of x: the maxima, then the maxima with their indices."""

    @jax.jit
    def run(x):
        how = (x, window, strides, padding)
        return max_pool(*how, ceil_mode=ceil_mode), *max_pool_with_argmax(*how, ceil_mode=ceil_mode)

    return run


def torch_pool(torch, x, window, strides, padding, ceil_mode):
    pool = torch.nn.MaxPool2d(window, strides, padding, ceil_mode=ceil_mode, return_indices=True)
    return [t.permute(0, 2, 3, 1) for t in pool(x.permute(0, 3, 1, 2))]


def inputs(size):
    x = random(2, *size, 3)
    return {
        "random": x,
        "negative": -1 - np.abs(x),
        "tied": tied(2, *size, 3),
        "constant": np.full_like(x, -2.0),
        "some -inf": np.where(x < 0.8, -np.inf, x),
        "all -inf": np.full_like(x, -np.inf),
    }


@geometries
@rounding
@pytest.mark.parametrize("size", SIZES)
def test_pooling_is_the_loop_over_windows(window, strides, padding, ceil_mode, size):
    how = (window, strides, padding)
    run = compiled(*how, ceil_mode)
    for name, x in inputs(size).items():
        want, where = pool_loop(x, *how, ceil_mode)
        alone, values, indices = run(x)
        assert indices.dtype == jnp.int32
        np.testing.assert_array_equal(values, want, name)
        np.testing.assert_array_equal(indices, where, name)
        np.testing.assert_array_equal(alone, want, name)


@geometries
@rounding
def test_pooling_is_torch_max_pool(torch, window, strides, padding, ceil_mode):
    if any(p > k / 2 for p, k in zip(pair(padding), pair(window), strict=True)):
        pytest.skip("PyTorch pads by half a window at most")
    how = (window, strides, padding)
    run = compiled(*how, ceil_mode)
    for size in SIZES:
        for name, x in inputs(size).items():
            want, where = torch_pool(torch, torch.tensor(x), *how, ceil_mode)
            _, values, indices = run(x)
            np.testing.assert_array_equal(values, want, name)
            np.testing.assert_array_equal(indices, where, name)


@geometries
def test_nan_is_the_largest_value(window, strides, padding):
    """As in PyTorch, so that NaN activations are not hidden; the first of several is indexed."""
    x = random(2, 7, 9, 3)
    x[random(2, 7, 9, 3, seed=1) > 1] = np.nan
    want, where = pool_loop(x, window, strides, padding, True)
    assert np.isnan(want).any() and not np.isnan(want).all()
    _, values, indices = compiled(window, strides, padding, True)(x)
    np.testing.assert_array_equal(values, want)
    np.testing.assert_array_equal(indices, where)


@pytest.mark.parametrize(
    ("k", "s", "p"),
    [
        pytest.param(*how, marks=() if how == (3, 2, 1) else pytest.mark.slow)
        for how in [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (3, 3, 1), (5, 2, 2), (2, 1, 0)]
    ],
)
def test_output_sizes_are_caffes(k, s, p):
    for n in range(1, 20):
        size = out_size(n, k, s, p, True)
        if size < 1:
            with pytest.raises(InputError, match="does not fit"):
                max_pool(jnp.zeros((1, n, n, 1)), k, s, p, ceil_mode=True)
        else:
            shape = jax.eval_shape(
                lambda x: max_pool(x, k, s, p, ceil_mode=True), jnp.zeros((1, n, n, 1))
            ).shape
            assert shape == (1, size, size, 1), n


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1)])
def test_one_pixel_is_a_window_when_rounding_up(size):
    x = random(1, *size, 2)
    values, indices = max_pool_with_argmax(x, 2, 2, ceil_mode=True)
    want, where = pool_loop(x, 2, 2, 0, True)
    np.testing.assert_array_equal(values, want)
    np.testing.assert_array_equal(indices, where)


def gradient_loop(x, dy, how, ceil_mode):
    """Adds each window's gradient at the position of its maximum."""
    indices = pool_loop(x, *how, ceil_mode)[1]
    n, height, width, c = x.shape
    out = np.zeros((n, height * width, c), np.float32)
    i, j = np.ogrid[:n, :c]
    for a in range(dy.shape[1]):
        for b in range(dy.shape[2]):
            np.add.at(out, (i, indices[:, a, b], j), dy[:, a, b])
    return out.reshape(x.shape)


def pull_back(x, dy, how, ceil_mode, with_argmax=False):
    def run(x):
        if with_argmax:
            return max_pool_with_argmax(x, *how, ceil_mode=ceil_mode)[0]
        return max_pool(x, *how, ceil_mode=ceil_mode)

    return jax.jit(lambda x, dy: jax.vjp(run, x)[1](dy)[0])(jnp.asarray(x), jnp.asarray(dy))


@pytest.mark.default_cases(6)
@geometries
@rounding
@pytest.mark.parametrize("make", [random, tied])
def test_gradient_goes_to_the_winner(window, strides, padding, ceil_mode, make):
    how = (window, strides, padding)
    x = make(2, 7, 10, 3)
    dy = random(*pool_loop(x, *how, ceil_mode)[0].shape, seed=1)
    want = gradient_loop(x, dy, how, ceil_mode)
    for with_argmax in (False, True):
        got = pull_back(x, dy, how, ceil_mode, with_argmax)
        np.testing.assert_allclose(got, want, atol=1e-5)


@geometries
@pytest.mark.parametrize("make", [random, tied])
@pytest.mark.slow
def test_gradient_is_torchs(torch, window, strides, padding, make):
    if any(p > k / 2 for p, k in zip(pair(padding), pair(window), strict=True)):
        pytest.skip("PyTorch pads by half a window at most")
    how = (window, strides, padding)
    x = torch.tensor(make(2, 7, 10, 3), requires_grad=True)
    y, _ = torch_pool(torch, x, *how, True)
    dy = random(*y.shape, seed=1)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(pull_back(x.detach(), dy, how, True), x.grad, atol=1e-5)


@geometries
@rounding
@pytest.mark.parametrize("make", [random, tied])
def test_reference_form(reference_form, window, strides, padding, ceil_mode, make):
    how = (window, strides, padding)
    x = make(2, 7, 10, 3)
    want, _ = pool_loop(x, *how, ceil_mode)
    got = jax.jit(lambda x: max_pool(x, *how, ceil_mode=ceil_mode))(x)
    np.testing.assert_array_equal(got, want)
    dy = random(*want.shape, seed=1)
    got = pull_back(x, dy, how, ceil_mode)
    np.testing.assert_allclose(got, gradient_loop(x, dy, how, ceil_mode), atol=1e-5)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize(("window", "strides", "padding"), [(2, 2, 0), (3, 2, 1)])
def test_lowers_to_the_platforms_own_pooling(platform, window, strides, padding):
    def run(x):
        return jax.value_and_grad(
            lambda x: (max_pool(x, window, strides, padding, ceil_mode=True) ** 2).sum()
        )(x)

    shape = jax.ShapeDtypeStruct((2, 7, 9, 3), jnp.float32)
    text = jax.export.export(jax.jit(run), platforms=[platform])(shape).mlir_module()
    assert "reduce_window" in text
    assert ("select_and_scatter" in text) == (platform == "tpu")  # on a GPU it becomes a scatter
    text = jax.export.export(jax.jit(run), platforms=["cpu"])(shape).mlir_module()
    assert "reduce_window" not in text and "select_and_scatter" not in text


@rounding
def test_bfloat16(ceil_mode):
    x = jnp.asarray(random(2, 7, 9, 3), jnp.bfloat16)
    alone, values, indices = compiled(3, 2, 1, ceil_mode)(x)
    want, where = pool_loop(np.float32(x), 3, 2, 1, ceil_mode)
    assert values.dtype == alone.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(values), want)
    np.testing.assert_array_equal(indices, where)
    gradient = jax.jit(jax.grad(lambda x: max_pool(x, 2, 2).astype(jnp.float32).sum()))(x)
    assert gradient.dtype == jnp.bfloat16 and gradient.sum() == 2 * 3 * 4 * 3


@pytest.mark.slow
def test_vmap_and_grad_of_vmap():
    x = jnp.asarray(random(4, 2, 7, 9, 3))
    run = compiled(3, 2, 1, True)
    want = [np.stack(parts) for parts in zip(*map(run, x), strict=True)]
    jax.tree.map(np.testing.assert_array_equal, list(jax.vmap(run)(x)), want)

    def total(x):
        return (max_pool(x, 3, 2, 1) ** 2).sum()

    each = jax.jit(jax.grad(total))
    want = np.stack([each(one) for one in x])
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(total)))(x), want, atol=1e-6)
    got = jax.jit(jax.grad(lambda x: jax.vmap(total)(x).sum()))(x)
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("pool", [max_pool, max_pool_with_argmax])
@pytest.mark.parametrize(
    ("shape", "window", "strides", "padding"),
    [
        ((1, 4, 4, 1), 5, 2, 0),
        ((1, 8, 4, 1), (2, 5), 2, 0),
        ((1, 4, 4, 1), 2, 0, 0),
        ((1, 4, 4, 1), 0, 2, 0),
        ((1, 4, 4, 1), 2, 2, 2),
        ((1, 4, 4, 1), 2, 2, -1),
        ((1, 0, 4, 1), 2, 2, 0),
        ((4, 4, 1), 2, 2, 0),
    ],
)
def test_what_cannot_be_pooled(pool, shape, window, strides, padding):
    with pytest.raises(InputError):
        pool(jnp.zeros(shape), window, strides, padding)


@pytest.mark.parametrize("pool", [max_pool, max_pool_with_argmax])
def test_integers_are_refused(pool):
    """Integers have no minus infinity for the padding."""
    with pytest.raises(InputError, match="int32"):
        pool(jnp.zeros((1, 4, 4, 1), jnp.int32), 2, 2)
