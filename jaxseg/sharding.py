"""Devices: one mesh, batches split over it, parameters on every device."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg.errors import InputError


def make_mesh(batch_size: int, what: str = "train.batch_size") -> Mesh:
    """All devices of all processes along one axis, "data".

    Args:
      batch_size: images that the devices share.
      what: how messages call it.

    Raises:
      InputError: the devices cannot share the batch evenly.
    """
    devices = jax.device_count()
    if batch_size % devices:
        fitting = sorted(
            {max(devices, batch_size // devices * devices), -(-batch_size // devices) * devices}
        )
        raise InputError(
            f"{what} is {batch_size}, which {devices} devices cannot share evenly.",
            f"Give a multiple of {devices}, such as {' or '.join(map(str, fitting))}.",
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Axis 0 split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def to_devices(mesh: Mesh, *arrays: np.ndarray) -> tuple[jax.Array, ...]:
    """This process's part of a batch as global arrays, split over the mesh along axis 0."""
    sharding = split_batch(mesh)
    return tuple(jax.make_array_from_process_local_data(sharding, a) for a in arrays)


def to_every_device(mesh: Mesh, tree: Any) -> Any:
    """Arrays that every process has alike, as global arrays with a whole copy on every device."""
    sharding = replicated(mesh)
    return jax.tree.map(
        lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), tree
    )
