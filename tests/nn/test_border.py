"""FCN's zero border: blocks leave out rows that are all alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import randomized

from jaxseg import features
from jaxseg.models.fcn import FCNVGG16
from jaxseg.models.vgg import VGG16_BLOCKS
from jaxseg.nn.border import Block, blocks_within

COUNTS = [count for _, count, _ in VGG16_BLOCKS]


def network(padding, size, **fields):
    model = FCNVGG16(3, width=0.05, padding=padding, dropout=0.0, **fields)
    images = np.random.default_rng(1).standard_normal((2, *size, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return model, randomized(shapes), jnp.asarray(images)


def value_and_gradient(model, variables, images):
    def objective(variables):
        logits = model.apply(variables, images, method="heads")[0].logits
        return (logits * jnp.cos(jnp.arange(logits.size).reshape(logits.shape))).sum(), logits

    (_, logits), gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))(variables)
    return logits, gradient


slow, nightly = pytest.mark.slow, pytest.mark.nightly


@pytest.mark.parametrize(
    ("padding", "size"),
    [
        pytest.param(100, (1, 1), marks=nightly),
        pytest.param(100, (33, 47), marks=slow),
        pytest.param(100, (64, 50), marks=nightly),
        pytest.param(99, (40, 61), marks=nightly),
        pytest.param(93, (34, 35), marks=nightly),
        pytest.param(30, (5, 96), marks=slow),
    ],
)
def test_logits_and_gradients_are_those_of_the_whole_border(monkeypatch, padding, size):
    model, variables, images = network(padding, size)
    got = value_and_gradient(model, variables, images)
    assert any(block.left_out for block in blocks_within(padding, COUNTS))
    monkeypatch.setattr("jaxseg.models.vgg.blocks_within", lambda *_: [Block()] * 5)
    want = value_and_gradient(model, variables, images)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


@pytest.mark.slow
def test_rows_left_out_are_alike_and_the_next_ones_are_not():
    """In full maps: every block leaves out as many equal rows as possible."""
    model, variables, images = network(100, (41, 38))
    _, found = model.apply(variables, images, method="heads", mutable=["features"])
    for i, block in enumerate(blocks_within(100, COUNTS), 1):
        rows = np.asarray(found["features"][f"pool{i}"])
        alike, row = block.left_out // 2, block.rows[-1]
        for map_ in (rows, rows[:, ::-1], rows.swapaxes(1, 2), rows.swapaxes(1, 2)[:, ::-1]):
            zone = map_[:, row : row + alike + 1]
            np.testing.assert_array_equal(zone, zone[:, :1].repeat(alike + 1, axis=1))
        beyond = rows[:, row : row + alike + 3]  # one extra row, because of odd sizes
        assert (beyond[:, -1] != beyond[:, 0]).any()


def test_padding_of_one_has_nothing_to_leave_out():
    assert not any(block.left_out for block in blocks_within(1, COUNTS))


@pytest.mark.slow
def test_batch_norm_and_batches_of_several_sizes_see_the_whole_border(monkeypatch):
    with_norm = network(100, (9, 9), norm="batch")
    model, variables, images = network(100, (9, 9))
    monkeypatch.setattr("jaxseg.models.vgg.blocks_within", lambda *_: pytest.fail("left out"))
    jax.eval_shape(with_norm[0].apply, *with_norm[1:])
    sizes = {"extents": {"pool1": jnp.full((2, 2), 104)}}
    jax.eval_shape(model.apply, variables | sizes, images)
    with pytest.raises(pytest.fail.Exception):
        jax.eval_shape(model.apply, variables, images)


def test_features_are_the_whole_maps(monkeypatch):
    """All features are those of the network that leaves nothing out."""
    model, variables, images = network(100, (41, 38))
    got = jax.jit(lambda v, x: features(model, v, x))(variables, images)
    assert got["conv1_1"].shape[1:3] == (41 + 198, 38 + 198)
    monkeypatch.setattr("jaxseg.models.vgg.blocks_within", lambda *_: [Block()] * 5)
    want = jax.jit(lambda v, x: features(model, v, x))(variables, images)
    assert got.keys() == want.keys()
    for name in got:
        np.testing.assert_allclose(got[name], want[name], atol=2e-5 * np.abs(want[name]).max())


@pytest.mark.slow
def test_looking_at_features_does_not_change_the_program():
    model, variables, images = network(100, (41, 38))

    def run(variables, images, **how):
        result = model.apply(variables, images, method="heads", **how)
        return (result[0] if how else result)[0].logits

    plain, looked = (
        jax.jit(lambda v, x, how=how: run(v, x, **how)).lower(variables, images).compile()
        for how in ({}, {"mutable": ["features"]})
    )
    assert plain.cost_analysis()["flops"] == looked.cost_analysis()["flops"]


def test_conv1_2_works_on_less():
    model, variables, images = network(100, (500, 500))
    jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x, method="heads")[0].logits)(
        variables, images[:1]
    )
    text = str(jaxpr)
    assert "514,514" in text
    assert "698,698" not in text
