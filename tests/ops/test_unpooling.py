import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.distributed.mesh import split_batch
from jaxseg.errors import InputError
from jaxseg.ops import max_pool, max_pool_with_argmax, max_unpool

pooled_sizes = pytest.mark.parametrize(
    "size",
    [
        (7, 10),
        *(pytest.param(size, marks=pytest.mark.slow) for size in [(1, 5), (8, 6), (9, 9)]),
    ],
)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def unpool_loop(values, indices, size):
    """As in Caffe: zeros, then one value after another."""
    n, h, w, c = values.shape
    out = np.zeros((n, size[0] * size[1], c), values.dtype)
    i, j = np.ogrid[:n, :c]
    for a in range(h):
        for b in range(w):
            out[i, indices[:, a, b], j] = values[:, a, b]
    return out.reshape(n, *size, c)


def gather_loop(dy, indices):
    n, h, w, c = indices.shape
    flat = dy.reshape(n, -1, c)
    return np.take_along_axis(flat, indices.reshape(n, -1, c), 1).reshape(indices.shape)


def bits(x):
    """The bytes of an array, which distinguish -0 from 0."""
    return np.asarray(x).tobytes()


def pull_back(values, indices, size, dy, **how):
    run = functools.partial(max_unpool, indices=indices, size=size, **how)
    return jax.vjp(run, values)[1](dy)[0]


@pytest.mark.default_cases(1)
@pooled_sizes
@pytest.mark.parametrize("ceil_mode", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", [{}, {"in_place": True}, {"in_place": False}])
@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
def test_after_2x2_pooling_every_form_is_the_loop(size, ceil_mode, how, dtype):
    x = jnp.asarray(random(2, *size, 3), dtype)
    if not ceil_mode and min(size) < 2:
        pytest.skip("nothing left")
    values, indices = max_pool_with_argmax(x, 2, 2, ceil_mode=ceil_mode)
    values = jnp.where(values < 0.3, -jnp.zeros_like(values), values)  # -0 must stay -0
    got = max_unpool(values, indices, size, **how)
    assert got.shape == (2, *size, 3) and got.dtype == dtype
    assert bits(got) == bits(unpool_loop(np.asarray(values), np.asarray(indices), size))
    dy = jnp.where(random(2, *size, 3, seed=1) < 0, -0.0, random(2, *size, 3, seed=2)).astype(dtype)
    want = gather_loop(np.asarray(dy), np.asarray(indices))
    assert bits(pull_back(values, indices, size, dy, **how)) == bits(want)


@pytest.mark.default_cases(1)
@pooled_sizes
@pytest.mark.parametrize(
    "how",
    [
        (3, 2, 1),
        (3, 1, 1),
        *(pytest.param(how, marks=pytest.mark.slow) for how in ((3, 2, 0), (3, 3, 0))),
    ],
)
def test_any_pooling(size, how):
    """Windows with a shared maximum have equal values, so it does not matter which is kept."""
    x = random(2, *size, 3)
    if min(size) < 2:
        how = (*how[:2], 1)
    values, indices = max_pool_with_argmax(x, *how, ceil_mode=True)
    got = max_unpool(values, indices, size)
    assert bits(got) == bits(unpool_loop(np.asarray(values), np.asarray(indices), size))
    np.testing.assert_array_equal(
        max_pool(jnp.where(got == x, x, -9), *how, ceil_mode=True), values
    )


@pytest.mark.parametrize(
    "size", [(8, 6), *(pytest.param(s, marks=pytest.mark.slow) for s in [(7, 5), (20, 30)])]
)
def test_arbitrary_indices(size):
    """The last of several values is kept; the gradient is a gather for all of them."""
    values = random(2, 4, 3, 5)
    rng = np.random.default_rng(1)
    indices = rng.integers(0, size[0] * size[1], values.shape, np.int32)
    if size == (8, 6):
        indices[0, 1, :, 0] = 7  # forces a collision
    for run in (max_unpool, jax.jit(max_unpool, static_argnums=2)):
        got = run(values, indices, size)
        assert bits(got) == bits(unpool_loop(values, indices, size))
    dy = random(2, *size, 5, seed=2)
    want = gather_loop(dy, indices)
    assert bits(pull_back(values, indices, size, dy)) == bits(want)


def test_one_index_outside_its_window_is_enough():
    """One such index selects the general form; the faster form would drop its value."""
    x = random(1, 8, 6, 2)
    values, indices = max_pool_with_argmax(x, 2, 2)
    indices = indices.at[0, 2, 1, 1].set(0)
    got = max_unpool(values, indices, (8, 6))
    assert bits(got) == bits(unpool_loop(np.asarray(values), np.asarray(indices), (8, 6)))
    assert got[0, 0, 0, 1] == values[0, 2, 1, 1]


@pytest.mark.slow
def test_nan_and_infinity_stay_in_their_place():
    values = jnp.array([jnp.nan, jnp.inf, -jnp.inf, 1.0]).reshape(1, 2, 2, 1)
    indices = jnp.array([0, 3, 12, 10]).reshape(1, 2, 2, 1)
    for in_place in (True, False):
        got = np.asarray(max_unpool(values, indices, (4, 4), in_place=in_place)).ravel()
        np.testing.assert_array_equal(got[[0, 3, 12, 10]], values.ravel())
        assert np.count_nonzero(got) == 4


@pooled_sizes
@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.slow
def test_values_and_gradients_are_torchs(torch, size, window):
    """2×2 and 3×3 windows that do not overlap: in PyTorch the order of collisions is undefined."""
    pool = torch.nn.MaxPool2d(window, window, ceil_mode=True, return_indices=True)
    x = torch.tensor(random(2, 3, *size))
    values, where = pool(x)
    values.requires_grad_()
    want = torch.nn.functional.max_unpool2d(
        values, where, window, window, output_size=(2, 3, *size)
    )
    dy = random(2, 3, *size, seed=1)
    want.backward(torch.tensor(dy))
    ours = jnp.asarray(values.detach().permute(0, 2, 3, 1).numpy())
    indices = jnp.asarray(where.permute(0, 2, 3, 1).numpy().astype(np.int32))
    got = max_unpool(ours, indices, size)
    np.testing.assert_array_equal(got, want.detach().permute(0, 2, 3, 1))
    gradient = pull_back(ours, indices, size, dy.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(gradient, values.grad.permute(0, 2, 3, 1))


def test_pooling_and_unpooling_keep_the_maxima():
    x = jnp.abs(jnp.asarray(random(2, 8, 10, 3))) + 1
    values, indices = max_pool_with_argmax(x, 2, 2)
    y = max_unpool(values, indices, (8, 10))
    np.testing.assert_array_equal(y[y != 0], x[y != 0])
    np.testing.assert_array_equal(max_pool(y, 2, 2), values)
    assert (y != 0).sum() == values.size


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        {"in_place": True},
        *(pytest.param(how, marks=pytest.mark.slow) for how in ({}, {"in_place": False})),
    ],
)
def test_jit_vmap_and_grad_of_vmap(how):
    x = jnp.asarray(random(3, 2, 7, 9, 2))

    def run(x):
        values, indices = max_pool_with_argmax(x, 2, 2, ceil_mode=True)
        return max_unpool(values, indices, (7, 9), **how)

    def total(x):
        return (run(x) ** 3).sum()

    want = np.stack([run(one) for one in x])
    for got in (jax.vmap(run)(x), jax.jit(jax.vmap(run))(x)):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.grad(total)))(x), 3 * want**2 * (want != 0))


def test_known_windows_need_no_look_at_the_indices(reference_form):
    x = jax.ShapeDtypeStruct((2, 4, 4, 3), jnp.float32)
    i = jax.ShapeDtypeStruct((2, 4, 4, 3), jnp.int32)

    def program(**how):
        return str(jax.make_jaxpr(lambda v, i: max_unpool(v, i, (8, 8), **how))(x, i))

    assert "cond[" in program() and "scatter" in program()
    assert "cond[" not in program(in_place=True) and "scatter" not in program(in_place=True)
    assert "cond[" not in program(in_place=False) and "scatter" in program(in_place=False)
    far = str(jax.make_jaxpr(lambda v, i: max_unpool(v, i, (12, 12)))(x, i))
    assert "cond[" not in far


@pytest.mark.slow
def test_under_jit_indices_outside_of_the_plane_are_dropped():
    values = jnp.arange(1.0, 5).reshape(1, 2, 2, 1)
    indices = jnp.array([0, -1, 16, 15]).reshape(1, 2, 2, 1)
    want = np.zeros(16)
    want[[0, 15]] = 1, 4
    for size in ((4, 4), (2, 8)):
        for in_place in (None, False):
            run = functools.partial(max_unpool, size=size, in_place=in_place)
            got, pull = jax.vjp(lambda v, i, run=run: jax.jit(run)(v, i), values, indices)
            np.testing.assert_array_equal(got.ravel(), want)
            dy = jnp.arange(1.0, 17).reshape(1, *size, 1)
            np.testing.assert_array_equal(pull(dy)[0].ravel(), [1, 0, 0, 16])


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        {},
        *(pytest.param({"in_place": known}, marks=pytest.mark.slow) for known in (True, False)),
    ],
)
def test_eight_devices(mesh, how):
    x = jnp.asarray(random(8, 6, 8, 3))

    def run(x):
        def total(values, indices):
            y = max_unpool(values, indices, (6, 8), **how)
            return (y**3).sum(), y

        values, indices = max_pool_with_argmax(x, 2, 2)
        gradient, y = jax.grad(total, has_aux=True)(values, indices)
        return gradient, y

    split = split_batch(mesh)
    got = jax.jit(run, in_shardings=split, out_shardings=split)(x)
    jax.tree.map(np.testing.assert_array_equal, got, run(x))


VALUES = np.zeros((1, 2, 2, 1), np.float32)
INDICES = np.zeros((1, 2, 2, 1), np.int32)


@pytest.mark.parametrize(
    ("values", "indices", "how", "message"),
    [
        (VALUES, np.zeros((1, 2, 3, 1), np.int32), {}, "shape"),
        (VALUES, np.zeros((2, 2, 2, 1), np.int32), {}, "shape"),
        (VALUES[0], INDICES[0], {}, "shape"),
        (VALUES, VALUES, {}, "integer"),
        (INDICES, INDICES, {}, "floating"),
        (VALUES, INDICES + 16, {}, "0 to 15"),
        (VALUES, INDICES - 1, {}, "0 to 15"),
        (VALUES, INDICES, {"size": (6, 4), "in_place": True}, "pooling of 6×4 does not give 2×2"),
    ],
)
def test_what_cannot_be_unpooled(values, indices, how, message):
    with pytest.raises(InputError, match=message):
        max_unpool(values, indices, **{"size": (4, 4)} | how)
