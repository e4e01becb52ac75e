import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.ops import local_response_norm


def random(*shape, seed=0):
    return 40 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    "channels", [1, 5, *(pytest.param(c, marks=pytest.mark.slow) for c in (2, 4, 11))]
)
@pytest.mark.parametrize("how", [{}, {"size": 3, "alpha": 0.5, "beta": 1.5, "k": 2.0}, {"size": 1}])
def test_values_and_gradients_are_torchs(torch, channels, how):
    x = torch.tensor(random(2, channels, 5, 3), requires_grad=True)
    want = torch.nn.functional.local_response_norm(x, **{"size": 5} | how)
    dy = random(*want.shape, seed=1)
    want.backward(torch.tensor(dy))
    ours = jnp.asarray(x.detach().permute(0, 2, 3, 1).numpy())
    got, pull = jax.vjp(lambda x: local_response_norm(x, **how), ours)
    np.testing.assert_allclose(got, want.detach().permute(0, 2, 3, 1), rtol=1e-5, atol=1e-6)
    gradient = pull(jnp.asarray(dy.transpose(0, 2, 3, 1)))[0]
    np.testing.assert_allclose(gradient, x.grad.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)


def test_alpha_is_divided_by_the_size():
    """As in Caffe; the AlexNet paper does not divide."""
    got = local_response_norm(jnp.ones((1, 9)), size=5, alpha=5.0, beta=1.0, k=0.0)
    np.testing.assert_allclose(got[0, 4], 1 / 5, rtol=1e-6)


def test_bfloat16_is_computed_in_float32():
    x = jnp.asarray(random(2, 3, 4, 7), jnp.bfloat16)
    got = jax.jit(local_response_norm)(x)
    assert got.dtype == jnp.bfloat16
    want = local_response_norm(x.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_allclose(np.float32(got), np.float32(want), rtol=1e-2)


@pytest.mark.parametrize("size", [0, -1, 4])
def test_size_is_odd(size):
    with pytest.raises(InputError, match="odd"):
        local_response_norm(jnp.ones((1, 4)), size=size)
