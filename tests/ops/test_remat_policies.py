"""Recomputation policies: the gradients do not change; each policy keeps what its name says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import create_model
from jaxseg.errors import InputError
from jaxseg.ops.remat import LAYER, POLICIES, remat


def layers(weights, x):
    for w in weights:
        x = jax.ad_checkpoint.checkpoint_name(jnp.tanh(x @ w), LAYER)
    return x


def gradient(policy):
    run = remat(layers, policy)
    return jax.grad(lambda weights, x: jnp.square(run(weights, x)).sum())


def arguments():
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.standard_normal((4, 4)), jnp.float32) for _ in range(3)]
    return weights, jnp.asarray(rng.standard_normal((2, 4)), jnp.float32)


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("policy", [True, *(name for name in POLICIES if "offload" not in name)])
def test_gradients_do_not_change(policy):
    got, want = (jax.jit(gradient(p))(*arguments()) for p in (policy, False))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "products"),
    [("everything_saveable", 8), ("dots_saveable", 8), ("nothing_saveable", 11)],
)
def test_a_policy_decides_what_is_recomputed(policy, products):
    """Three products forward, five backward (images need no gradient), three recomputed."""
    program = str(jax.make_jaxpr(gradient(policy))(*arguments()))
    assert program.count("dot_general[") == products


@pytest.mark.parametrize("policy", [name for name in POLICIES if "offload" in name])
def test_offloading_moves_to_the_hosts_memory(policy):
    traced = jax.jit(gradient(policy)).trace(*arguments())
    assert "pinned_host" in traced.lower(lowering_platforms=("tpu",)).as_text()


def test_an_unknown_policy_is_refused():
    with pytest.raises(InputError, match="remat is 'dots_savable'") as error:
        remat(layers, "dots_savable")
    assert "dots_saveable" in error.value.remedy


@pytest.mark.slow
def test_a_network_takes_a_policy():
    """FCN-8s that keeps its layers' outputs has only the products of a plain step."""

    def program(policy):
        model = create_model(
            "fcn8s_vgg16", 3, width=0.05, fc_channels=64, padding=1, dropout=0.0, remat=policy
        )
        x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), x)

        def loss(variables, x):
            return jnp.square(model.apply(variables, x, train=True, method="heads")[0].logits).sum()

        return jax.jit(jax.grad(loss)).trace(variables, x).lower(lowering_platforms=("tpu",))

    counts = {
        policy: program(policy).as_text().count("stablehlo.convolution")
        for policy in (False, "everything_saveable", True)
    }
    assert counts["everything_saveable"] == counts[False] < counts[True]
    with pytest.raises(InputError, match="remat is 'none'"):
        program("none")
