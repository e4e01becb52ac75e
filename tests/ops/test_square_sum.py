import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.ops import square_sum as module
from jaxseg.ops.square_sum import square_sum


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "_PART", 64)


@pytest.mark.parametrize("shape", [(7, 7, 33, 5), (3000,), (2, 5000), (4099, 1), (511, 8), (20,)])
@pytest.mark.parametrize("devices", [1, 8])
def test_is_the_sum_of_squares(small_parts, monkeypatch, shape, devices):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    a = np.random.default_rng(0).standard_normal(shape).astype(np.float32) + 0.5
    got = jax.jit(square_sum)(jnp.asarray(a))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, np.square(np.float64(a)).sum(), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("at", [0, 1234, -1])
def test_one_bad_value_is_in_it(small_parts, monkeypatch, bad, at):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    a = np.ones(5001, np.float32)
    a[at] = bad
    assert not np.isfinite(square_sum(jnp.asarray(a)))


def test_makes_no_array_of_squares(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    a = jax.ShapeDtypeStruct((7, 7, 512, 512), jnp.float32)  # 51 MB
    memory = jax.jit(square_sum).lower(a).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 10e6
