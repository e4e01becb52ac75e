"""Hessian-vector products through the three networks, with the ops' reference forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import images, randomized

from jaxseg import create_model
from jaxseg.ops import implementation

NETWORKS = [
    ("fcn8s_vgg16", {"width": 0.03, "fc_channels": 64, "padding": 1}, 33),
    ("deconvnet_vgg16", {"width": 0.03, "fc_channels": 64, "fc_kernel": 1, "bn_epsilon": 1e-2}, 32),
    ("pspnet_resnet50", {"width": 0.05, "depth": 14}, 33),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields", "size"),
    [pytest.param(*n, id=n[0], marks=() if "fcn" in n[0] else pytest.mark.slow) for n in NETWORKS],
)
def test_hessian_vector_product(name, fields, size):
    """jvp of grad is finite and nonzero, and symmetric in two directions."""
    model = create_model(name, 3, **fields)
    x = images(2, (size, size))
    variables = randomized(jax.eval_shape(model.init, jax.random.key(0), x))
    params, others = variables["params"], {k: v for k, v in variables.items() if k != "params"}

    def loss(params):
        logits = model.apply({"params": params, **others}, x, method="heads")[0].logits
        return jnp.square(logits - 0.1).mean()

    def directions(seed):
        rng = np.random.default_rng(seed)
        return jax.tree.map(lambda a: rng.normal(0, 0.1, a.shape).astype(np.float32), params)

    def product(v):
        return jax.jvp(jax.grad(loss), (params,), (v,))[1]

    def dot(a, b):
        return float(sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), a, b))))

    one, two = directions(1), directions(2)
    with implementation("reference"):
        run = jax.jit(product)
        first, second = run(one), run(two)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(first))
    assert abs(dot(first, one)) > 0
    np.testing.assert_allclose(dot(first, two), dot(second, one), rtol=1e-2)
