"""Each network can memorize four photographs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from base import init_key

from jaxseg import create_model, normalize
from jaxseg.data import resize_image
from jaxseg.data.scenes import Scenes
from jaxseg.data.voc_folder import VocFolder
from jaxseg.losses import cross_entropy

IN_CI = ("fcn8s_vgg16", "deconvnet_vgg16", "pspnet_resnet50")  # the others: nightly

SIZE, STEPS = (64, 96), 300
DECONVNET = {"fc_channels": 512, "fc_kernel": 2, "bn_epsilon": 1e-5, "decoder_init": "he"}
VGG = {"width": 0.125, "fc_channels": 512, "norm": "batch", "padding": 1, "dropout": 0.0}
RESNET = {"width": 0.125, "depth": 26, "dropout": 0.0}


@pytest.fixture(scope="module")
def photographs(shared_data):
    """Photographs uint8 [4, H, W, 3] and labels [4, H, W] of CamVid, or generated scenes."""
    folder = shared_data / "camvid"
    source = VocFolder(folder, "train") if folder.is_dir() else Scenes(0, 367, SIZE)
    examples = [source[i] for i in range(0, len(source), len(source) // 4)[:4]]
    rows, columns = (
        np.arange(n) * size // n for n, size in zip(SIZE, examples[0].label.shape, strict=True)
    )
    images = np.stack([resize_image(e.image, SIZE) for e in examples])
    return images, np.stack([e.label[rows[:, None], columns] for e in examples])


def descend(loss, start, optimizer, steps):
    """Returns the losses of the steps; `loss` returns a value and an auxiliary carry."""

    def step(carry, _):
        values, state, rest = carry
        (value, rest), gradient = jax.value_and_grad(loss, has_aux=True)(values, rest)
        updates, state = optimizer.update(gradient, state, values)
        return (optax.apply_updates(values, updates), state, rest), value

    values, rest = start
    carry = values, optimizer.init(values), rest
    return jax.jit(lambda c: jax.lax.scan(step, c, length=steps)[1])(carry)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        pytest.param(
            *case, marks=pytest.mark.optimized if case[0] in IN_CI else pytest.mark.nightly
        )
        for case in [
            ("fcn32s_vgg16", VGG),
            ("fcn16s_vgg16", VGG),
            ("fcn8s_vgg16", VGG),
            ("fcn32s_alexnet", VGG | {"width": 0.25}),
            ("fcn32s_googlenet", {"width": 0.25, "norm": "batch", "dropout": 0.0}),
            ("fcn_resnet50", RESNET),
            ("deconvnet_vgg16", DECONVNET | {"width": 0.25}),
            ("pspnet_resnet50", RESNET),
        ]
    ],
)
def test_overfits_four_photographs(photographs, name, fields):
    """The loss comes as near to zero as scores on the network's grid allow.

    Scores at an eighth or a 32nd of the photograph's resolution cannot follow every outline. The
    attainable loss is found by optimizing free scores on the same grid. FCN-8s at-once is left out:
    its scales of 0.01 and 0.0001 are made for activations without batch norm.
    """
    images, labels = photographs
    model = create_model(name, 11, **fields)
    x = normalize(jnp.asarray(images), model.preprocessing)
    variables = jax.jit(model.init)(init_key(0), x[:1])
    head = jax.eval_shape(functools.partial(model.apply, method="heads"), variables, x)[0]

    def loss_of_scores(scores, _):
        return cross_entropy(scores, labels, head.upsampling), None

    def loss_of_network(params, statistics):
        heads, changed = model.apply(
            {"params": params} | statistics,
            x,
            train=True,
            method="heads",
            mutable=["batch_stats"],
        )
        return cross_entropy(heads[0].logits, labels, head.upsampling), changed

    nothing = jnp.zeros(head.logits.shape)
    floor = descend(loss_of_scores, (nothing, None), optax.adam(0.3), 400)[-1]
    statistics = {"batch_stats": variables["batch_stats"]}
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))
    losses = descend(loss_of_network, (variables["params"], statistics), optimizer, STEPS)
    assert losses[0] > 1.5
    assert losses[-1] < floor + 0.05
