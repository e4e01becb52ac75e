import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.ops import implementation
from jaxseg.ops.cpu import sums as cpu
from jaxseg.ops.sums import add_bias, square_sum

FORMS = ("reference", "cpu")


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) + 0.5


@pytest.mark.parametrize("shape", [(2, 7, 9, 3), (1, 1, 1, 5), (3, 8, 4, 1), (101, 2), (1, 16, 6)])
def test_a_channel_sum_is_the_sum_over_all_axes_but_the_last(shape):
    a = random(*shape)
    got = jax.jit(cpu.channel_sum)(a)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, np.float64(a).reshape(-1, shape[-1]).sum(axis=0), rtol=1e-6)


def test_a_channel_sum_of_bfloat16_is_rounded_once():
    a = jnp.asarray(random(4, 64, 64, 3), jnp.bfloat16)
    got = jax.jit(cpu.channel_sum)(a)
    assert got.dtype == jnp.bfloat16
    want = np.float64(a).reshape(-1, 3).sum(axis=0)
    np.testing.assert_allclose(np.float64(got), want, rtol=2**-8)


def test_parts_of_a_map_are_summed_side_by_side():
    """XLA must not merge the two sums into one, which a single thread would compute."""
    a = jax.ShapeDtypeStruct((2, 64, 64, 32), jnp.float32)
    program = jax.jit(cpu.channel_sum).lower(a).compile().as_text()
    assert "f32[8,32]" in program


@pytest.mark.parametrize("form", FORMS)
def test_a_bias_and_its_gradient(form):
    x, bias, dy = random(2, 5, 7, 3), random(3, seed=1), random(2, 5, 7, 3, seed=2)
    with implementation(form):
        y, pull = jax.vjp(add_bias, x, bias)
        dx, dbias = pull(dy)
    np.testing.assert_array_equal(y, x + bias)
    np.testing.assert_array_equal(dx, dy)
    np.testing.assert_allclose(dbias, dy.sum(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("shape", [(5, 1000, 2003), (9_000_011,), (20,)])
@pytest.mark.parametrize("form", FORMS)
def test_square_sum(form, shape):
    a = random(*shape)
    with implementation(form):
        got = jax.jit(square_sum)(a)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, np.square(np.float64(a)).sum(), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_value_is_in_the_square_sum(bad):
    a = np.ones((9000, 1000), np.float32)
    for at in ((0, 0), (1234, 7), (-1, -1)):
        a[at] = bad
        assert not np.isfinite(jax.jit(cpu.square_sum)(jnp.asarray(a)))
        a[at] = 1


def test_the_square_sum_makes_no_array_of_squares():
    a = jax.ShapeDtypeStruct((7, 7, 512, 512), jnp.float32)  # 51 MB
    memory = jax.jit(cpu.square_sum).lower(a).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 10e6
