"""One mesh over all devices; batches are split, everything else is copied."""

import jax
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.sharding import make_mesh, replicated, split_batch, to_devices


@pytest.mark.parametrize("batch_size", [8, 16])
def test_mesh_of_all_devices(batch_size):
    mesh = make_mesh(batch_size)
    assert dict(mesh.shape) == {"data": jax.device_count()} == {"data": 8}


@pytest.mark.parametrize(
    "batch_size, fitting", [(1, "such as 8."), (6, "such as 8."), (12, "such as 8 or 16.")]
)
def test_batch_that_cannot_be_shared(batch_size, fitting):
    with pytest.raises(InputError) as caught:
        make_mesh(batch_size, "eval.batch_size")
    assert f"eval.batch_size is {batch_size}" in caught.value.problem
    assert caught.value.remedy.endswith(fitting)


def test_batch_is_split_in_order():
    mesh = make_mesh(16)
    images = np.arange(16 * 3, dtype=np.uint8).reshape(16, 3)
    labels = np.arange(16, dtype=np.uint8)
    on_devices = to_devices(mesh, images, labels)
    for array, original in zip(on_devices, (images, labels), strict=True):
        assert array.sharding == split_batch(mesh) and array.dtype == original.dtype
        np.testing.assert_array_equal(array, original)
        parts = sorted(array.addressable_shards, key=lambda s: s.device.id)
        np.testing.assert_array_equal(np.concatenate([s.data for s in parts]), original)
        assert {s.data.shape[0] for s in parts} == {2}


def test_replicated_is_whole_everywhere():
    mesh = make_mesh(8)
    array = jax.device_put(np.arange(5), replicated(mesh))
    assert array.sharding.is_fully_replicated and len(array.addressable_shards) == 8
    for shard in array.addressable_shards:
        np.testing.assert_array_equal(shard.data, np.arange(5))
