"""Every network's intermediate arrays, by name."""

import functools

import jax
import numpy as np
import pytest
from base import images, randomized
from flax.traverse_util import flatten_dict

from jaxseg import create_model, features
from jaxseg.errors import InputError

FCN = functools.partial(create_model, "fcn8s_vgg16", 5, width=0.03, padding=1, norm="batch")


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        (
            "fcn8s_vgg16",
            {"padding": 1},
            {"conv1_1": (64, 96), "pool3": (8, 12), "fc7": (2, 3), "fuse_pool3": (8, 12)},
        ),
        ("fcn32s_alexnet", {}, {"norm1": None, "pool5": None, "fc7": None, "score_fr": None}),
        pytest.param(
            "fcn32s_googlenet",
            {},
            {"norm2": None, "inception_4c/joined": None, "score_fr": None},
            marks=pytest.mark.slow,
        ),
        (
            "fcn_resnet50",
            {},
            {"backbone/stem": (32, 48), "backbone/layer4_block3": (8, 12), "head/score": (8, 12)},
        ),
        (
            "deconvnet_vgg16",
            {"fc_kernel": 2},
            {"pool5": (2, 3), "fc6": (1, 2), "unpool5": (4, 6), "deconv1_2": (64, 96)},
        ),
        (
            "pspnet_resnet50",
            {},
            {"level1_pooled": (1, 1), "level6_pooled": (6, 6), "level6_upsampled": (8, 12)},
        ),
    ],
)
def test_names_and_sizes(name, fields, expected):
    """Shapes alone, without computing."""
    model = create_model(name, 5, width=0.03, **fields)
    x = images(1, (64, 96))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    found = jax.eval_shape(functools.partial(features, model), variables, x)
    for feature, size in expected.items():
        assert feature in found
        assert size is None or found[feature].shape[1:3] == size
    layers = {path.rpartition("/")[0] for path in flatten_dict(variables["params"], sep="/")}
    layers = {layer for layer in layers if not layer.startswith("aux/")}  # only in training
    assert {layer.removesuffix("/bn") for layer in layers} <= set(found)


@pytest.mark.slow
def test_values_are_those_of_the_network():
    """The last scores are the head's logits; ReLU and pooling outputs follow from their inputs."""
    model, x = FCN(), images(2, (37, 53))
    variables = randomized(jax.eval_shape(model.init, jax.random.key(0), x))
    names = ["conv1_2", "pool1", "fuse_pool3"]
    got, (head,) = jax.jit(
        lambda v, x: (features(model, v, x, names), model.apply(v, x, method="heads"))
    )(variables, x)
    np.testing.assert_allclose(got["fuse_pool3"], head.logits, rtol=1e-4, atol=1e-4)
    conv = np.asarray(got["conv1_2"])
    assert conv.min() == 0 < conv.max()
    pooled = np.pad(conv, ((0, 0), (0, 1), (0, 1), (0, 0)))
    pooled = pooled.reshape(2, 19, 2, 27, 2, -1).max((2, 4))
    np.testing.assert_array_equal(got["pool1"], pooled)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("remat", [False, True])
def test_only_what_is_asked_for_is_computed(remat):
    model, x = FCN(remat=remat), images(1, (32, 32))
    variables = randomized(jax.eval_shape(model.init, jax.random.key(0), x))

    get = jax.jit(functools.partial(features, model, names=["pool2", "conv1_1"]))
    program = get.lower(variables, x).compile().as_text()
    assert "/conv1_1/" in program and "/conv2_2/" in program
    assert "/conv3_1/" not in program and "/fc6/" not in program
    assert {k: v.shape for k, v in get(variables, x).items()} == {
        "conv1_1": (1, 32, 32, 2),
        "pool2": (1, 8, 8, 4),
    }


def test_an_unknown_name():
    model, x = FCN(), images(1, (32, 32))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    with pytest.raises(InputError, match="no features 'pol3'") as caught:
        jax.eval_shape(lambda v, x: features(model, v, x, ["pol3"]), variables, x)
    assert "pool3" in caught.value.remedy
