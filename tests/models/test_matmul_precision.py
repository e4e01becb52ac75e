"""`matmul_precision` reaches every product and convolution of a step, forward and backward."""

import re

import jax
import jax.numpy as jnp
import pytest

from jaxseg import create_model
from jaxseg.errors import InputError
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.deconvolution import deconv2d


def precisions(function, arrays, platform):
    """The precisions of all products in the program for a platform."""
    text = jax.jit(function).trace(*arrays).lower(lowering_platforms=(platform,)).as_text()
    lines = re.findall(r"stablehlo\.(?:convolution|dot_general)\W.*", text)
    return [set(re.findall(r"DEFAULT|HIGHEST|HIGH", line)) or {"DEFAULT"} for line in lines]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x, k: conv2d(x, k, 4),
        lambda x, k: conv2d(x, k, 2, dilation=2),
        lambda x, k: conv2d(x, k[:1, :1], 0),
        lambda x, k: conv2d(x[:1, :3, :3], k, 0),
        lambda x, k: deconv2d(x[:, :1, :1], k),
        lambda x, k: deconv2d(x, k, strides=2),
    ],
    ids=["padded", "dilated", "1x1", "matrix", "deconvolution of a cell", "deconvolution"],
)
def test_gradients_traced_later_have_the_precision(function, platform):
    """Under jit, gradients are traced when the caller's precision is no longer set."""
    with jax.default_matmul_precision("high"):
        traced = jax.jit(function).trace(jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 3, 4))).jaxpr

    def gradients(x, k):
        called = lambda x, k: jax.core.eval_jaxpr(traced.jaxpr, traced.consts, x, k)[0]  # noqa: E731
        y, back = jax.vjp(called, x, k)
        return back(jnp.ones_like(y))

    found = precisions(gradients, (jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 3, 4))), platform)
    assert found
    assert all(words == {"HIGH"} for words in found), found


def test_another_word():
    model = create_model("fcn8s_vgg16", 2, width=0.03, matmul_precision="exact")
    with pytest.raises(InputError, match="matmul_precision is 'exact'"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn8s_vgg16", "deconvnet_vgg16", "pspnet_resnet18"])
def test_every_product_of_a_network_has_the_precision(name):
    how = {"fc_kernel": 1} if name == "deconvnet_vgg16" else {}
    images = jnp.zeros((2, 32, 32, 3))

    def found(precision):
        model = create_model(name, 3, width=0.03, matmul_precision=precision, **how)
        variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images))

        def total(params, rest, images):
            rngs, kept = {"dropout": jax.random.key(0)}, ["batch_stats"]
            heads, _ = model.apply(
                {**rest, "params": params},
                images,
                train=True,
                method="heads",
                mutable=kept,
                rngs=rngs,
            )
            return sum(head.logits.sum() for head in heads)

        arguments = variables["params"], variables, images
        return [precisions(jax.grad(total), arguments, platform) for platform in ("tpu", "cuda")]

    for of_platform in found("highest"):
        assert all(words == {"HIGHEST"} for words in of_platform)
    for of_platform in found("default"):
        assert {"DEFAULT"} in of_platform
