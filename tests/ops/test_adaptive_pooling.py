import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.ops import adaptive_avg_pool, adaptive_max_pool
from jaxseg.ops.adaptive_pooling import adaptive_avg_pools

POOLS = [(adaptive_avg_pool, np.mean), (adaptive_max_pool, np.max)]
SIZES = [  # map, windows
    ((7, 11), (6, 3)),
    ((4, 3), (6, 5)),
    ((1, 8), (2, 3)),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in [
            ((12, 18), (6, 6)),
            ((5, 9), (2, 4)),
            ((13, 5), (1, 1)),
            ((1, 1), (3, 2)),
            ((9, 10), (9, 10)),
        ]
    ),
]


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def loop(x, size, reduce):
    """Reduces one window after the other."""
    out = np.zeros((x.shape[0], *size, x.shape[3]))
    for i in range(size[0]):
        top, bottom = int(np.floor(i * x.shape[1] / size[0])), (i + 1) * x.shape[1] / size[0]
        for j in range(size[1]):
            left, right = int(np.floor(j * x.shape[2] / size[1])), (j + 1) * x.shape[2] / size[1]
            window = x[:, top : int(np.ceil(bottom)), left : int(np.ceil(right))]
            out[:, i, j] = reduce(window, axis=(1, 2))
    return out


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(("pool", "reduce"), POOLS)
@pytest.mark.parametrize(("size", "windows"), SIZES)
def test_is_the_loop_over_windows(size, windows, pool, reduce):
    x = random(2, *size, 3)
    np.testing.assert_allclose(pool(x, windows), loop(x, windows, reduce), atol=1e-6)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    ("pool", "name"),
    [(adaptive_avg_pool, "adaptive_avg_pool2d"), (adaptive_max_pool, "adaptive_max_pool2d")],
)
@pytest.mark.parametrize(("size", "windows"), SIZES)
def test_values_and_gradient_are_those_of_torch(torch, size, windows, pool, name):
    """Few distinct values give ties: the gradient goes to the first maximum."""
    x = np.round(random(2, *size, 3))
    weights = random(2, *windows, 3, seed=1)
    other = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    want = getattr(torch.nn.functional, name)(other, windows)
    (want * torch.tensor(weights).permute(0, 3, 1, 2)).sum().backward()
    np.testing.assert_allclose(pool(x, windows), want.detach().permute(0, 2, 3, 1), atol=1e-6)
    gradient = jax.grad(lambda x: jnp.vdot(pool(x, windows), weights))(jnp.asarray(x))
    np.testing.assert_allclose(gradient, other.grad.permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("extent", [pytest.param(None, marks=pytest.mark.slow), [[3, 11], [7, 4]]])
def test_several_levels_are_those_of_each_by_itself(extent):
    """The gradient of the map is one sum, without a map-sized array for each level."""
    extent = extent if extent is None else jnp.array(extent)
    x, sizes = jnp.asarray(random(2, 7, 11, 5)), [1, (3, 2), 6]

    def one_by_one(x):
        return [adaptive_avg_pool(x, size, extent) for size in sizes]

    def together(x):
        return adaptive_avg_pools(x, sizes, extent)

    def run(form):
        levels, pull = jax.vjp(form, x)
        return levels, pull([jnp.cos(y) for y in levels])

    for a, b in zip(*(jax.tree.leaves(run(form)) for form in (together, one_by_one)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    program = str(jax.make_jaxpr(lambda x: jax.vjp(together, x)[1](together(x)))(x))
    assert program.count("f32[2,7,11,5] = transpose") == 1
    assert adaptive_avg_pools(x, [], extent) == []


@pytest.mark.slow
@pytest.mark.parametrize(("pool", "reduce"), POOLS)
def test_bfloat16_is_rounded_once(pool, reduce):
    x = jnp.asarray(random(2, 7, 9, 3) + 3, jnp.bfloat16)
    got = jax.jit(pool, static_argnums=1)(x, 3)
    assert got.dtype == jnp.bfloat16
    want = jnp.asarray(loop(np.float32(x), (3, 3), reduce), jnp.bfloat16)
    np.testing.assert_allclose(np.float32(got), np.float32(want), rtol=2**-8)
    ones = pool(jnp.ones((1, 7, 9, 1), jnp.bfloat16), 3)
    assert (ones == 1).all()


@pytest.mark.parametrize("pool", [adaptive_avg_pool, adaptive_max_pool])
def test_one_number_is_both_axes_and_vmap_is_a_loop(pool):
    x = random(3, 2, 7, 5, 4)
    np.testing.assert_array_equal(pool(x[0], 3), pool(x[0], (3, 3)))
    got = jax.jit(jax.vmap(lambda x: pool(x, 3)))(x)
    np.testing.assert_allclose(got, np.stack([pool(one, 3) for one in x]), atol=1e-6)


def test_maximum_of_nan_and_of_minus_infinity():
    x = jnp.full((1, 4, 4, 1), -jnp.inf).at[0, 0, 1, 0].set(jnp.nan)
    got = adaptive_max_pool(x, 2).ravel()
    assert jnp.isnan(got[0]) and (got[1:] == -jnp.inf).all()


@pytest.mark.parametrize("pool", [adaptive_avg_pool, adaptive_max_pool])
@pytest.mark.parametrize(
    ("x", "size", "message"),
    [
        (np.zeros((1, 4, 4, 1), np.uint8), 2, "uint8"),
        (np.zeros((4, 4, 1), np.float32), 2, "shape"),
        (np.zeros((1, 0, 4, 1), np.float32), 2, "shape"),
        (np.zeros((1, 4, 4, 1), np.float32), 0, "0×0 windows"),
        (np.zeros((1, 4, 4, 1), np.float32), (2, -1), "1 or more"),
    ],
)
def test_what_cannot_be_pooled(pool, x, size, message):
    with pytest.raises(InputError, match=message):
        pool(x, size)
