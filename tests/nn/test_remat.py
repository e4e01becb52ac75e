"""`remat` saves memory; other tests compare its values with the plain ones."""

import jax
import pytest
from base import images

from jaxseg import create_model


@pytest.mark.parametrize(
    ("name", "fields", "size"),
    [
        pytest.param("fcn8s_vgg16", {"width": 0.125}, 225, marks=pytest.mark.optimized),
        pytest.param(  # minutes to compile
            "fcn32s_googlenet", {"width": 0.25, "norm": "batch"}, 353, marks=pytest.mark.nightly
        ),
        pytest.param("deconvnet_vgg16", {"width": 0.125}, 224, marks=pytest.mark.optimized),
        pytest.param("pspnet_resnet50", {"width": 0.25}, 225, marks=pytest.mark.nightly),
    ],
)
def test_the_backward_pass_holds_less(name, fields, size):
    plain, again = (temporaries(name, remat=remat, **fields, size=size) for remat in (False, True))
    assert again < 0.8 * plain


def temporaries(name, *, size, **fields):
    """Temporary bytes of a gradient, beyond its arguments and results."""
    model = create_model(name, 5, **fields)
    x = images(2, (size, size))

    def loss(params, others, dropout):
        heads, changed = model.apply(
            others | {"params": params},
            x,
            train=True,
            method="heads",
            mutable=["batch_stats"],
            rngs={"dropout": dropout},
        )
        return sum((head.logits**2).mean() for head in heads), changed

    others = dict(jax.eval_shape(model.init, jax.random.key(0), x))
    params = others.pop("params")
    gradient = jax.jit(jax.grad(loss, has_aux=True))
    program = gradient.lower(params, others, jax.random.key(0)).compile()
    return program.memory_analysis().temp_size_in_bytes
