import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.ops.channel_sums import add_bias, channel_sums


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) + 0.5


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("shape", [(2, 7, 9, 3), (1, 1, 1, 5), (3, 8, 4, 1), (101, 2), (1, 16, 6)])
def test_is_the_sum_over_all_axes_but_the_last(monkeypatch, shape, devices):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    a = random(*shape)
    got = jax.jit(channel_sums)(a)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, np.float64(a).reshape(-1, shape[-1]).sum(axis=0), rtol=1e-6)


@pytest.mark.parametrize("devices", [1, 8])
def test_bfloat16_is_rounded_once(monkeypatch, devices):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    a = jnp.asarray(random(4, 64, 64, 3), jnp.bfloat16)
    got = channel_sums(a)
    assert got.dtype == jnp.bfloat16
    want = np.float64(a).reshape(-1, 3).sum(axis=0)
    np.testing.assert_allclose(np.float64(got), want, rtol=2**-8)


def test_a_bias_and_its_gradient(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    x, bias, dy = random(2, 5, 7, 3), random(3, seed=1), random(2, 5, 7, 3, seed=2)
    y, pull = jax.vjp(add_bias, x, bias)
    np.testing.assert_array_equal(y, x + bias)
    dx, dbias = pull(dy)
    np.testing.assert_array_equal(dx, dy)
    np.testing.assert_allclose(dbias, dy.sum(axis=(0, 1, 2)), rtol=1e-5)


def test_parts_of_a_map_are_summed_side_by_side(monkeypatch):
    """XLA must not make one sum, hence one thread's work, of the two."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    a = jax.ShapeDtypeStruct((2, 64, 64, 32), jnp.float32)
    program = jax.jit(channel_sums).lower(a).compile().as_text()
    assert "f32[8,32]" in program
