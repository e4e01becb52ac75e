import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.ops.deconvolution import deconv2d


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    "size", [(4, 3), *(pytest.param(s, marks=pytest.mark.slow) for s in ((1, 1), (1, 5)))]
)
@pytest.mark.parametrize(
    ("k", "strides", "padding"), [(7, 1, 0), (3, 1, 1), (3, 1, 0), (4, 2, 0), (4, 2, 1), (1, 1, 0)]
)
def test_values_and_gradients_are_torchs(torch, size, k, strides, padding):
    """Random kernels are not symmetric, so a missing flip is detected."""
    x = torch.tensor(random(2, 5, *size), requires_grad=True)
    weight = torch.tensor(random(5, 6, k, k, seed=1), requires_grad=True)
    want = torch.nn.functional.conv_transpose2d(x, weight, stride=strides, padding=padding)
    dy = random(*want.shape, seed=2)
    want.backward(torch.tensor(dy))

    def ours(x):
        return jnp.asarray(x.detach().permute(0, 2, 3, 1).numpy())

    def run(x, kernel):
        return deconv2d(x, kernel, padding, strides=strides)

    kernel = jnp.asarray(weight.detach().permute(2, 3, 0, 1).numpy())
    got, pull = jax.jit(lambda *a: jax.vjp(run, *a))(ours(x), kernel)
    np.testing.assert_allclose(got, ours(want), atol=1e-4)
    dx, dk = pull(dy.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(dx, ours(x.grad), atol=1e-4)
    np.testing.assert_allclose(dk, weight.grad.permute(2, 3, 0, 1), atol=1e-4)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize(("k", "strides", "padding"), [(7, 1, 0), (3, 1, 1), (4, 2, 0)])
def test_bfloat16(k, strides, padding):
    x, kernel = (jnp.asarray(random(*s), jnp.bfloat16) for s in ((2, 3, 4, 5), (k, k, 5, 2)))
    got = deconv2d(x, kernel, padding, strides=strides)
    assert got.dtype == jnp.bfloat16
    want = deconv2d(x.astype(jnp.float32), kernel.astype(jnp.float32), padding, strides=strides)
    np.testing.assert_allclose(np.float32(got), want, atol=0.05 * float(jnp.abs(want).max()))
