"""Devices: one mesh, batches split over all of it, large arrays of the state over a part of it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg.errors import InputError

_SMALLEST = 2**16  # elements: gathering a smaller array costs more than a copy of it


def make_mesh(
    batch_size: int,
    what: str = "train.batch_size",
    fsdp: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """All devices of all processes in a grid of axes "data" and "fsdp".

    Args:
      batch_size: images that the devices share.
      what: its name in messages.
      fsdp: devices that share one copy of the parameters and of the optimiser's state, after fully
        sharded data parallelism; neighbours, so that they are in one host where that is possible.
      devices: those of a topology that a program is compiled for; None: the ones there are.

    Raises:
      InputError: the devices cannot share the batch evenly, or do not fall into such groups.
    """
    count = jax.device_count() if devices is None else len(devices)
    if count % fsdp:
        fitting = [n for n in range(1, count + 1) if count % n == 0]
        raise InputError(
            f"Config field train.fsdp is {fsdp}, but {count} devices do not fall into groups of "
            f"{fsdp}.",
            f"Give a divisor of {count}: {', '.join(map(str, fitting))}.",
        )
    if batch_size % count:
        fitting = sorted({max(count, batch_size // count * count), -(-batch_size // count) * count})
        raise InputError(
            f"{what} is {batch_size}, which {count} devices cannot share evenly.",
            f"Give a multiple of {count}, such as {' or '.join(map(str, fitting))}.",
        )
    # One order of the devices whatever the grid, or arrays of two meshes would not go together.
    auto = (jax.sharding.AxisType.Auto,)
    line = jax.make_mesh((count,), ("data",), axis_types=auto, devices=devices).devices
    return Mesh(line.reshape(count // fsdp, fsdp), ("data", "fsdp"))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Axis 0 split over all devices."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def split_state(mesh: Mesh, state: Any, smallest: int = _SMALLEST) -> Any:
    """Where the arrays of a state are: a sharding for each.

    An array of at least `smallest` elements is split over the mesh's axis "fsdp" along the longest
    of its axes that divides evenly, of equal ones the last. The others, and all where that axis of
    the mesh is 1, are whole on every device.

    Args:
      mesh: of `make_mesh`.
      state: a pytree of arrays or `jax.ShapeDtypeStruct`s: parameters, their averages, momenta and
        whatever else a step changes are all placed by shape alone.
      smallest: elements from which on an array is split.

    >>> mesh = jax.make_mesh((1, 1), ("data", "fsdp"))
    >>> tuple(split_state(mesh, {"bias": np.zeros(21)})["bias"].spec)  # on no axis
    ()
    """
    parts = mesh.shape["fsdp"]

    def place(array) -> NamedSharding:
        fitting = [(n, axis) for axis, n in enumerate(array.shape) if n % parts == 0]
        if parts == 1 or array.size < smallest or not fitting:
            return replicated(mesh)
        _, axis = max(fitting)
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, "fsdp"))

    return jax.tree.map(place, state)


def with_whole_parameters(train_step: Callable, mesh: Mesh) -> Callable:
    """A train step for a state that is split: it gathers the parameters, computes as if nothing
    were split, and keeps its own part of the result.

    Left to itself, XLA might split the convolutions along channels instead, and move activations.
    """
    if mesh.shape["fsdp"] == 1:
        return train_step

    @functools.wraps(train_step)
    def step(state, images, labels):
        params = jax.lax.with_sharding_constraint(state.params, replicated(mesh))
        return train_step(state.replace(params=params), images, labels)

    return step


def gather(mesh: Mesh, tree: Any) -> Any:
    """The same arrays, whole on every device; those that are already are not copied."""
    return jax.device_put(tree, replicated(mesh))


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
