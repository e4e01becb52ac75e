"""Every mesh trains alike, and a checkpoint of one mesh continues on another."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from jaxseg.checkpoint.manager import Checkpoints, abstract
from jaxseg.data import Augment, open_data, train_batches
from jaxseg.distributed.mesh import (
    gathered,
    replicated,
    split_batch,
    split_state,
    to_devices,
)
from jaxseg.models import model_from_config
from jaxseg.training.optimizers import make_optimizer
from jaxseg.training.step import create_state, make_train_step


def grid(data, fsdp):
    devices = np.array(jax.devices()[: data * fsdp])
    return Mesh(devices.reshape(data, fsdp), ("data", "fsdp"))


class Training:
    """The steps of a small network whose arrays are split from 64 elements on."""

    def __init__(self, config, mesh):
        self.config, self.mesh = config, mesh
        self.source = open_data(config.data, "train", config.seed)
        model = model_from_config(config.model, self.source.info.num_classes)
        optimizer = make_optimizer(config.optim, config.train.steps)

        def initial():
            return create_state(model, optimizer, config.seed, (64, 64))

        self.like = jax.eval_shape(initial)
        self.placed = split_state(mesh, self.like, smallest=64)
        quick = {"xla_backend_optimization_level": 1}
        self.new = jax.jit(initial, out_shardings=self.placed, compiler_options=quick)
        split = split_batch(mesh)
        gather = functools.partial(gathered, mesh, dtype=model.dtype, smallest=64)
        step = make_train_step(model, optimizer, config.loss, config.seed, gather=gather)
        self.step = jax.jit(
            step,
            in_shardings=(self.placed, split, split),
            out_shardings=(self.placed, replicated(mesh)),
            donate_argnums=0,
        )

    def run(self, steps):
        """Returns the losses of the first steps, and the state after them."""
        state, losses = self.new(), []
        batches = train_batches(
            self.source, seed=0, batch_size=self.config.train.batch_size, augment=Augment(flip=0.5)
        )
        for batch, _ in zip(batches, range(steps), strict=False):
            state, numbers = self.step(state, *to_devices(self.mesh, batch.image, batch.label))
            losses.append(float(numbers["loss"]))
        batches.close()
        return losses, state


@pytest.fixture(scope="module")
def config(tiny):
    return tiny({"model.width": 0.0625, "optim.lr": 0.02})


@pytest.fixture(scope="module")
def one(config):
    """The same training on one device."""
    return Training(config, grid(1, 1)).run(5)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((8, 1), marks=pytest.mark.nightly),
        pytest.param((4, 2), marks=pytest.mark.optimized),
        pytest.param((1, 8), marks=pytest.mark.nightly),
    ],
    ids=str,
)
def test_losses_are_those_of_one_device(config, one, shape):
    training = Training(config, grid(*shape))
    losses, state = training.run(5)
    np.testing.assert_allclose(losses, one[0], rtol=0, atol=1e-5)
    assert losses[-1] < losses[0] - 0.005
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-4), state, one[1])
    assert jax.tree.map(lambda a: a.sharding, state) == training.placed
    split = [a for a in jax.tree.leaves(state) if not a.sharding.is_fully_replicated]
    if shape == (8, 1):
        assert not split
    else:  # most of the parameters, and their momenta
        assert len(split) > 20 and len(split) % 2 == 0
        assert {len({str(s.index) for s in a.addressable_shards}) for a in split} == {shape[1]}


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    "saved, restored", [((8, 1), (1, 1)), ((1, 1), (8, 1)), ((8, 1), (4, 2)), ((2, 4), (1, 2))]
)
def test_checkpoint_goes_on_in_another_mesh(tmp_path, saved, restored):
    """The values are equal bit for bit; nothing is compiled."""
    rng = np.random.default_rng(0)
    values = {
        "kernel": rng.standard_normal((3, 8, 16)).astype(np.float32),
        "bias": rng.standard_normal(5).astype(np.float32),
        "step": np.int32(7),
    }

    def placed(shape):
        return split_state(grid(*shape), values, smallest=64)

    state = jax.device_put(values, placed(saved))
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(7, state, {"step": 7})
    got, _ = checkpoints.restore(7, abstract(values, placed(restored)))
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, got, values)
    assert jax.tree.map(lambda a: a.sharding, got) == placed(restored)
    assert got["kernel"].sharding.is_fully_replicated == (restored[1] == 1)
