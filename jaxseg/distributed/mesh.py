"""Devices: one mesh, batches split over it, large arrays of the state or rows over a part of it."""

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
    space: int = 1,
) -> Mesh:
    """All devices of all processes in a grid of axes "data", "fsdp" and "space".

    Args:
      batch_size: images that the devices share.
      what: its name in messages.
      fsdp: devices that share one copy of the parameters and of the optimiser's state, after fully
        sharded data parallelism; neighbours, so that they are in one host where that is possible.
      devices: those of a topology that a program is compiled for; None: the ones there are.
      space: devices that share the rows of an image, for images too large for one; neighbours, too,
        and all in one process.

    Raises:
      InputError: the devices cannot share the batch evenly, or do not fall into such groups.
    """
    count = jax.device_count() if devices is None else len(devices)
    together = count if devices is not None else jax.local_device_count()
    if together % space:
        raise InputError(
            f"Config field train.space is {space}, but a process has {together} devices, which "
            f"cannot be divided into groups of {space}.",
            f"Give a divisor of {together}: {_divisors(together)}.",
        )
    if count // space % fsdp:
        raise InputError(
            f"Config field train.fsdp is {fsdp}, but {count // space} "
            f"devices{f' (of {count}, {space} for each image)' if space > 1 else ''} cannot be "
            f"divided into groups of {fsdp}.",
            f"Give a divisor of {count // space}: {_divisors(count // space)}.",
        )
    sharing = count // space
    if batch_size % sharing:
        below, above = batch_size // sharing * sharing, -(-batch_size // sharing) * sharing
        fitting = sorted({max(sharing, below), above})
        raise InputError(
            f"{what} is {batch_size}, which cannot be split evenly over {sharing} devices.",
            f"Give a multiple of {sharing}, such as {' or '.join(map(str, fitting))}.",
        )
    # One order of the devices whatever the grid, or arrays of two meshes would not go together.
    auto = (jax.sharding.AxisType.Auto,)
    line = jax.make_mesh((count,), ("data",), axis_types=auto, devices=devices).devices
    return Mesh(line.reshape(-1, fsdp, space), ("data", "fsdp", "space"))


def _divisors(count: int) -> str:
    return ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Axis 0 split over all devices, but those that share an image have it whole."""
    return NamedSharding(mesh, PartitionSpec(_batch_axes(mesh)))


def _batch_axes(mesh: Mesh) -> tuple[str, ...]:
    return tuple(name for name in mesh.axis_names if name != "space")


def split_rows(mesh: Mesh, *batch: jax.Array) -> tuple[jax.Array, ...]:
    """Inside a jitted function: batches [N, H, ...] whose rows are split over the axis "space".

    XLA splits what is computed of them alike: a convolution fetches the rows beside its own from
    its neighbours. The number of rows need not divide evenly.
    """
    if mesh.shape.get("space", 1) == 1:
        return batch
    sharding = NamedSharding(mesh, PartitionSpec(_batch_axes(mesh), "space"))
    return tuple(jax.lax.with_sharding_constraint(a, sharding) for a in batch)


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


def gathered(mesh: Mesh, params: Any, dtype: Any, smallest: int = _SMALLEST) -> Any:
    """Inside a loss: split parameters, whole on every device, for a network to compute with.

    What is split by `split_state` is a kernel, which a layer first of all casts to the `dtype` that
    it computes in: here that comes before the gathering, so that bfloat16 moves half the bytes. Its
    gradient is split like the parameter, and comes as a sum over devices in `dtype`, as it would of
    a whole one. Left to itself, XLA might split the convolutions along channels instead, and move
    activations.

    Args:
      mesh: of `make_mesh`.
      params: a pytree of float32 arrays.
      dtype: of the computation.
      smallest: as in `split_state`.
    """
    whole = replicated(mesh)

    def gather(array, split):
        if split.is_fully_replicated:
            return array
        narrow = jax.lax.with_sharding_constraint(array.astype(dtype), split)
        return jax.lax.with_sharding_constraint(narrow, whole)

    return jax.tree.map(gather, params, split_state(mesh, params, smallest))


def with_split_rows(train_step: Callable, mesh: Mesh) -> Callable:
    """A train step whose images are split along their rows, where devices share an image."""
    if mesh.shape.get("space", 1) == 1:
        return train_step

    @functools.wraps(train_step)
    def step(state, images, labels):
        return train_step(state, *split_rows(mesh, images, labels))

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
