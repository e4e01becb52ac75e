"""One mesh over all devices: it splits batches over all of them, large state arrays over some."""

import math

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxseg.config import default_config
from jaxseg.distributed.mesh import make_mesh, replicated, split_batch, split_state, to_devices
from jaxseg.errors import InputError
from jaxseg.models import model_from_config
from jaxseg.training.optimizers import make_optimizer
from jaxseg.training.step import create_state


@pytest.mark.parametrize("batch_size", [8, 16])
def test_mesh_of_all_devices(batch_size):
    mesh = make_mesh(batch_size)
    assert dict(mesh.shape) == {"data": 8, "fsdp": 1, "space": 1} and jax.device_count() == 8


@pytest.mark.parametrize(
    "batch_size, fitting", [(1, "such as 8."), (6, "such as 8."), (12, "such as 8 or 16.")]
)
def test_batch_that_cannot_be_shared(batch_size, fitting):
    with pytest.raises(InputError) as caught:
        make_mesh(batch_size, "eval.batch_size")
    assert f"eval.batch_size is {batch_size}" in caught.value.problem
    assert caught.value.remedy.endswith(fitting)


@pytest.mark.parametrize("fsdp", [2, 4, 8])
def test_grid(fsdp):
    """Devices keep their linear order, so that arrays of two meshes can be combined."""
    mesh = make_mesh(8, fsdp=fsdp)
    assert dict(mesh.shape) == {"data": 8 // fsdp, "fsdp": fsdp, "space": 1}
    assert [d.id for d in mesh.devices.ravel()] == [d.id for d in make_mesh(8).devices.ravel()]


@pytest.mark.parametrize("fsdp", [3, 16])
def test_groups_that_devices_do_not_fall_into(fsdp):
    with pytest.raises(InputError, match=rf"train\.fsdp is {fsdp}, .* 8 devices .*: 1, 2, 4, 8\."):
        make_mesh(48, fsdp=fsdp)


@pytest.mark.parametrize("fsdp", [1, 4])
def test_batch_is_split_in_order(fsdp):
    mesh = make_mesh(16, fsdp=fsdp)
    images = np.arange(16 * 3, dtype=np.uint8).reshape(16, 3)
    labels = np.arange(16, dtype=np.uint8)
    on_devices = to_devices(mesh, images, labels)
    for array, original in zip(on_devices, (images, labels), strict=True):
        assert array.sharding == split_batch(mesh) and array.dtype == original.dtype
        np.testing.assert_array_equal(array, original)
        parts = sorted(array.addressable_shards, key=lambda s: s.device.id)
        np.testing.assert_array_equal(np.concatenate([s.data for s in parts]), original)
        assert {s.data.shape[0] for s in parts} == {2}


def test_replicated_arrays_are_complete_on_every_device():
    mesh = make_mesh(8)
    array = jax.device_put(np.arange(5), replicated(mesh))
    assert array.sharding.is_fully_replicated and len(array.addressable_shards) == 8
    for shard in array.addressable_shards:
        np.testing.assert_array_equal(shard.data, np.arange(5))


@pytest.mark.parametrize(
    "shape, spec",
    [
        ((3, 3, 512, 512), (None, None, None, "fsdp")),  # the last of equal axes
        ((7, 7, 4096, 512), (None, None, "fsdp")),
        ((4096, 21), ("fsdp",)),  # 4 does not divide 21
        ((1, 1, 66666), ()),  # no axis is a multiple of 4
        ((512,), ()),  # too small to be worth splitting
        ((), ()),
    ],
)
def test_rules_on_shapes(shape, spec):
    array = jax.ShapeDtypeStruct(shape, np.float32)
    placed = split_state(make_mesh(8, fsdp=4), [{"a": array}])
    assert placed[0]["a"].spec == PartitionSpec(*spec)
    assert split_state(make_mesh(8), [array])[0].is_fully_replicated


@pytest.mark.parametrize("fsdp", [pytest.param(2, marks=pytest.mark.slow), 8])
def test_bytes_of_state_on_a_device(fsdp):
    """Full DeconvNet with AdamW: 252 million parameters and two moments of that size."""
    config = default_config()
    config.model.name, config.optim.name = "deconvnet_vgg16", "adamw"
    model = model_from_config(config.model, 21)
    optimizer = make_optimizer(config.optim, 1)
    state = jax.eval_shape(lambda: create_state(model, optimizer, 0, (224, 224)))
    placed = split_state(make_mesh(8, fsdp=fsdp), state)

    def share(array, where):
        return math.prod(where.shard_shape(array.shape)) * array.dtype.itemsize

    whole = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(state))
    each = sum(jax.tree.leaves(jax.tree.map(share, state, placed)))
    assert whole > 3 * 4 * 250e6
    assert whole / fsdp <= each < 1.01 * whole / fsdp
