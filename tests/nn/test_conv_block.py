"""The bias before a batch norm, whose gradient is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.nn.convolution import ConvBlock

X = np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("deconv", [False, True])
def test_a_bias_before_batch_norm_has_no_gradient_in_training(deconv):
    """The loss does not depend on it; the running mean does."""
    block = ConvBlock(6, norm="batch", deconv=deconv)
    variables = block.init(jax.random.key(0), X)
    variables["params"]["bias"] = jnp.arange(6.0)

    def loss(params, shift, train):
        """`shift` is added to every bias."""
        params = params | {"bias": params["bias"] + shift}
        given = {**variables, "params": params}
        out, changed = block.apply(given, X, train=train, mutable=["batch_stats"])
        return jnp.square(out).sum(), changed

    for train in (True, False):
        gradient, changed = jax.grad(loss, has_aux=True)(variables["params"], 0.0, train)
        assert (gradient["bias"] == 0).all() == train
    apart = loss(variables["params"], 3.0, True)[0] - loss(variables["params"], 0.0, True)[0]
    assert abs(apart) < 1e-3
    (_, moved), (_, changed) = (loss(variables["params"], shift, True) for shift in (3.0, 0.0))
    means = (c["batch_stats"]["bn"]["mean"] for c in (moved, changed))
    np.testing.assert_allclose(np.subtract(*means), 0.1 * 3, rtol=1e-4)


def test_a_bias_without_batch_norm_has_the_gradient_of_a_sum():
    block = ConvBlock(6)
    variables = block.init(jax.random.key(0), X)
    gradient = jax.grad(lambda v: jnp.sum(block.apply(v, X, train=True)))(variables)
    active = block.apply(variables, X) > 0
    np.testing.assert_allclose(gradient["params"]["bias"], active.sum((0, 1, 2)), rtol=1e-6)
