"""Devices that share the rows of an image compute what one device does."""

import functools

import jax
import numpy as np
import optax
import pytest

import jaxseg
from jaxseg.config import default_config
from jaxseg.data import DataInfo, Example
from jaxseg.distributed.mesh import (
    gathered,
    make_mesh,
    replicated,
    split_batch,
    split_rows,
    split_state,
    to_devices,
    with_split_rows,
)
from jaxseg.errors import InputError
from jaxseg.evaluation.evaluator import Evaluator
from jaxseg.ops.dispatch import for_devices

CLASSES = 5
NETWORKS = {  # fields, and a height that is no multiple of the devices if the network allows it
    "fcn8s_vgg16": ({"width": 0.1, "fc_channels": 32, "norm": "batch"}, 75),
    "deconvnet_vgg16": ({"width": 0.1, "fc_channels": 32, "fc_kernel": 2}, 64),
    "pspnet_resnet18": ({"width": 0.25}, 65),
}


def mesh_of(data, fsdp, space):
    devices = jax.devices()[: data * fsdp * space]
    return make_mesh(data * fsdp, fsdp=fsdp, devices=devices, space=space)


class Training:
    def __init__(self, name, mesh, batch_size=8, height=None):
        fields, own = NETWORKS[name]
        self.height, self.mesh = height or own, mesh
        model = jaxseg.create_model(name, CLASSES, **fields)
        optimizer = optax.sgd(0.01, momentum=0.9)

        def create():
            return jaxseg.create_state(model, optimizer, seed=0, image_size=(64, 64))

        self.like = jax.eval_shape(create)
        placed, split = split_state(mesh, self.like, smallest=64), split_batch(mesh)
        self.new = jax.jit(create, out_shardings=placed)
        gather = functools.partial(gathered, mesh, dtype=model.dtype, smallest=64)
        step = with_split_rows(jaxseg.make_train_step(model, optimizer, gather=gather), mesh)
        self.step = jax.jit(
            for_devices(step, jax.devices()),
            in_shardings=(placed, split, split),
            out_shardings=(placed, replicated(mesh)),
        )
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (batch_size, self.height, 64, 3), np.uint8)
        self.labels = rng.integers(0, CLASSES, self.images.shape[:3]).astype(np.uint8)
        self.labels[:, :9] = 255  # the first device's rows have fewer labels than the others'

    def losses(self, steps=3):
        state, losses = self.new(), []
        for _ in range(steps):
            batch = to_devices(self.mesh, self.images, self.labels)
            state, metrics = self.step(state, *batch)
            losses.append(float(metrics["loss"]))
        return losses

    def temporaries(self):
        compiled = self.step.lower(self.like, self.images, self.labels).compile()
        return compiled.memory_analysis().temp_size_in_bytes, compiled.as_text()


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        pytest.param(name, grid, marks=pytest.mark.slow if quick else pytest.mark.nightly)
        for name, one in (
            ("fcn8s_vgg16", (1, 1, 8)),
            ("deconvnet_vgg16", (2, 1, 4)),
            ("pspnet_resnet18", (1, 2, 4)),
        )
        for grid in ((2, 1, 4), (1, 1, 8), (1, 2, 4))
        for quick in [grid == one]
    ],
)
def test_losses_are_those_of_whole_images(name, grid):
    whole = Training(name, mesh_of(8, 1, 1)).losses()
    assert len(set(whole)) == 3  # the loss changes
    np.testing.assert_allclose(Training(name, mesh_of(*grid)).losses(), whole, rtol=1e-5)


@pytest.mark.optimized
def test_a_device_holds_its_share_of_the_activations():
    one, _ = Training("fcn8s_vgg16", mesh_of(1, 1, 1), batch_size=1, height=512).temporaries()
    four, text = Training("fcn8s_vgg16", mesh_of(1, 1, 4), batch_size=1, height=512).temporaries()
    assert one / four > 3
    assert "collective-permute" in text  # devices exchange rows with their neighbours


class Odd:
    """Images of odd heights."""

    info = DataInfo("odd", tuple("abcde"), tuple((40 * i, 0, 0) for i in range(CLASSES)))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        size = (53 + 2 * index, 64)
        squares = rng.integers(0, 256, (4, 4, 3), np.uint8)
        image = squares.repeat(16, 0).repeat(16, 1)[: size[0]]
        return Example(image, rng.integers(0, CLASSES, size).astype(np.uint8), self.name(index))

    def name(self, index):
        return str(index)

    def size(self, index):
        return (53 + 2 * index, 64)


@pytest.mark.slow
def test_an_evaluation_counts_the_same(random_network):
    fields, _ = NETWORKS["fcn8s_vgg16"]
    model, variables = random_network("fcn8s_vgg16", CLASSES, **fields)
    config = default_config().eval
    config.boundary = True
    found = []
    for space in (1, 8):
        evaluator = Evaluator(model, Odd(), config, batch_size=8 // space, space=space)
        placed = jax.device_put(variables, replicated(evaluator.mesh))
        found.append((evaluator.confusion(placed), evaluator.scores(placed)))
    (want, scores), (got, scores_too) = found
    np.testing.assert_array_equal(got, want)
    np.testing.assert_equal(scores_too, scores)  # also when label maps leave the devices
    assert np.count_nonzero(want) > CLASSES and "boundary_iou" in str(scores)


def test_rows_lie_on_the_devices_of_a_group():
    mesh = mesh_of(2, 1, 4)
    (batch,) = to_devices(mesh, np.arange(2 * 8 * 3).reshape(2, 8, 3))
    assert {shard.data.shape for shard in batch.addressable_shards} == {(1, 8, 3)}
    (rows,) = jax.jit(lambda a: split_rows(mesh, a))(batch)
    assert {shard.data.shape for shard in rows.addressable_shards} == {(1, 2, 3)}
    np.testing.assert_array_equal(rows, batch)


@pytest.mark.parametrize(
    ("space", "fsdp", "batch", "part"),
    [(3, 1, 8, "train.space is 3"), (4, 4, 8, "2 devices \\(of 8, 4 for each image\\)"),
     (4, 1, 3, "cannot be split evenly over 2 devices")],
)  # fmt: skip
def test_devices_that_do_not_fall_into_groups(space, fsdp, batch, part):
    with pytest.raises(InputError, match=part):
        make_mesh(batch, fsdp=fsdp, space=space)
