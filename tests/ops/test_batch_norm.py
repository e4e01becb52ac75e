import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.nn.batch_norm import BatchNorm
from jaxseg.ops import implementation
from jaxseg.ops.batch_norm import batch_norm


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def arguments(shape=(3, 7, 5, 4), mean=0.7):
    channels = shape[-1:]
    x = (2 * random(*shape) + mean).astype(np.float32)
    return x, 1 + 0.5 * random(*channels, seed=1), random(*channels, seed=2)


def plain(x, scale, bias, epsilon):
    """The definition, differentiated by autodiff."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    var = jnp.square(x - mean).mean(axes)
    return (x - mean) / jnp.sqrt(var + epsilon) * scale + bias, mean, var


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("form", ["reference", "cpu"])
@pytest.mark.parametrize(
    "shape",
    [
        (3, 7, 5, 4),
        *(pytest.param(s, marks=pytest.mark.slow) for s in ((2, 8, 8, 1), (1, 1, 3, 2), (11, 6))),
    ],
)
def test_values_and_gradients_are_torchs(torch, shape, form, fast):
    values, dy = arguments(shape), random(*shape, seed=3)
    theirs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in values]
    x = theirs[0].movedim(-1, 1)
    want = torch.nn.functional.batch_norm(x, None, None, *theirs[1:], training=True, eps=1e-3)
    want = want.movedim(1, -1)
    want.backward(torch.tensor(dy, dtype=torch.float64))
    with implementation(form):
        got, pull = jax.vjp(lambda *a: batch_norm(*a, 1e-3, fast)[0], *values)
        gradients = pull(dy)
    np.testing.assert_allclose(got, want.detach(), rtol=1e-4, atol=1e-5)
    for ours, leaf in zip(gradients, theirs, strict=True):
        np.testing.assert_allclose(ours, leaf.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("form", ["reference", "cpu"])
def test_gradient_through_the_statistics_too(form, fast):
    with implementation(form):
        check_gradient_through_the_statistics(fast)


def check_gradient_through_the_statistics(fast):
    values = arguments()
    results, pull = jax.vjp(lambda *a: batch_norm(*a, 0.1, fast), *values)
    want, pull_plain = jax.vjp(lambda *a: plain(*a, 0.1), *values)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), results, want)
    outside = tuple(random(*r.shape, seed=4 + i) for i, r in enumerate(results))
    for a, b in zip(pull(outside), pull_plain(outside), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_large_mean_wants_the_exact_variance():
    x, scale, bias = arguments(mean=3000.0)
    want = plain(np.float64(x), scale, bias, 1e-5)[2]
    np.testing.assert_allclose(batch_norm(x, scale, bias, 1e-5, False)[2], want, rtol=1e-4)
    assert np.abs(batch_norm(x, scale, bias)[2] / want - 1).max() > 1e-3


@pytest.mark.slow
def test_a_constant_channel_is_its_bias():
    x = jnp.full((2, 3, 3, 1), 5.0)
    value = jax.value_and_grad(lambda x: batch_norm(x, jnp.ones(1), jnp.full(1, 2.0))[0].sum())
    total, gradient = value(x)
    assert total == 2 * 18
    np.testing.assert_array_equal(gradient, 0)


def test_bfloat16_is_computed_in_float32():
    x, scale, bias = arguments()
    x, dy = jnp.asarray(x, jnp.bfloat16), jnp.asarray(random(*x.shape, seed=3), jnp.bfloat16)
    got, pull = jax.vjp(lambda *a: batch_norm(*a)[0], x, scale, bias)
    want, pull_wide = jax.vjp(lambda *a: batch_norm(*a)[0], x.astype(jnp.float32), scale, bias)
    assert got.dtype == jnp.bfloat16
    for a, b in zip((got, *pull(dy)), (want, *pull_wide(dy.astype(jnp.float32))), strict=True):
        np.testing.assert_allclose(np.float32(a), b, rtol=2**-8, atol=1e-6)
    assert [g.dtype for g in pull(dy)] == [jnp.bfloat16, jnp.float32, jnp.float32]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_layer_is_flaxs(dtype):
    """Variables have the same names; results and running statistics are equal."""
    x = jnp.asarray(arguments()[0], dtype)
    ours = BatchNorm(momentum=0.8, epsilon=1e-3, shift=0.25)
    theirs = nn.BatchNorm(
        momentum=0.8, epsilon=1e-3, bias_init=nn.initializers.constant(0.25), dtype=dtype
    )
    variables = ours.init(jax.random.key(0), x, train=True)
    jax.tree.map(
        np.testing.assert_array_equal,
        variables,
        theirs.init(jax.random.key(0), x, use_running_average=False),
    )
    leaves, structure = jax.tree.flatten(variables)
    leaves = [jnp.asarray(np.abs(random(4, seed=i)) + 0.1) for i in range(len(leaves))]
    variables = jax.tree.unflatten(structure, leaves)
    within = 2**-8 if dtype == jnp.bfloat16 else 1e-5
    for train in (True, False):
        got = ours.apply(variables, x, train=train, mutable=["batch_stats"])
        want = theirs.apply(variables, x, use_running_average=not train, mutable=["batch_stats"])
        assert got[0].dtype == dtype
        leaves, want_leaves = jax.tree.leaves(got), jax.tree.leaves(want)
        for a, b in zip(leaves, want_leaves, strict=True):
            np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=within, atol=within)
