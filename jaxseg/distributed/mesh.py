"""The mesh of devices, and shardings of batches, of rows of images, and of large state arrays."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg.errors import InputError

_SMALLEST = 2**16  # elements: gathering a smaller array costs more than replicating it


def make_mesh(
    batch_size: int,
    what: str = "train.batch_size",
    fsdp: int = 1,
    devices: Sequence[jax.Device] | None = None,
    space: int = 1,
) -> Mesh:
    """Arranges all devices of all processes in a mesh with axes "data", "fsdp" and "space".

    Args:
      batch_size: number of images per batch, divided among the devices.
      what: name of `batch_size` in messages.
      fsdp: number of devices that share one copy of the parameters and the optimizer state (fully
        sharded data parallelism). They are neighbours, if possible in one host.
      devices: devices of a topology to compile a program for; None: the devices of all processes.
      space: number of devices that share the rows of an image, for images too large for one device.
        They are neighbours in one process.

    Raises:
      InputError: the devices cannot share the batch evenly, or cannot form groups of these sizes.
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
    # The order of devices is the same for every mesh; otherwise arrays of two meshes cannot mix.
    auto = (jax.sharding.AxisType.Auto,)
    line = jax.make_mesh((count,), ("data",), axis_types=auto, devices=devices).devices
    return Mesh(line.reshape(-1, fsdp, space), ("data", "fsdp", "space"))


def _divisors(count: int) -> str:
    return ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding with a full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The sharding of axis 0 over all devices; devices that share an image hold all its rows."""
    return NamedSharding(mesh, PartitionSpec(_batch_axes(mesh)))


def _batch_axes(mesh: Mesh) -> tuple[str, ...]:
    return tuple(name for name in mesh.axis_names if name != "space")


def split_rows(mesh: Mesh, *batch: jax.Array) -> tuple[jax.Array, ...]:
    """Inside a jitted function: shards the rows of batches [N, H, ...] over the axis "space".

    XLA shards the results of later operations in the same way: for a convolution, a device fetches
    adjacent rows from its neighbours. The number of rows need not be divisible.
    """
    if mesh.shape.get("space", 1) == 1:
        return batch
    sharding = NamedSharding(mesh, PartitionSpec(_batch_axes(mesh), "space"))
    return tuple(jax.lax.with_sharding_constraint(a, sharding) for a in batch)


def split_state(mesh: Mesh, state: Any, smallest: int = _SMALLEST) -> Any:
    """The sharding of each array of a state.

    An array with at least `smallest` elements is sharded over the mesh axis "fsdp" along its
    longest divisible axis, the last one if several are equally long. All other arrays are
    replicated; if that mesh axis has size 1, all arrays are.

    Args:
      mesh: from `make_mesh`.
      state: a pytree of arrays or `jax.ShapeDtypeStruct`s, such as parameters, their averages and
        momenta. Only shapes matter.
      smallest: number of elements from which on an array is sharded.

    >>> mesh = jax.make_mesh((1, 1), ("data", "fsdp"))
    >>> tuple(split_state(mesh, {"bias": np.zeros(21)})["bias"].spec)  # replicated
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
    """Inside a loss: gathers sharded parameters, so that every device has a full copy.

    `split_state` shards only kernels, which a layer first casts to its compute dtype. Here the cast
    comes before the gathering, so that bfloat16 moves half the bytes. The gradient of a kernel is
    sharded like the kernel, and its sum over devices has `dtype`, as it would without sharding.
    Without this function, XLA might shard the convolutions along channels, and move activations.

    Args:
      mesh: from `make_mesh`.
      params: a pytree of float32 arrays.
      dtype: compute dtype.
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
    """`train_step` with the rows of its images sharded, if devices share an image."""
    if mesh.shape.get("space", 1) == 1:
        return train_step

    @functools.wraps(train_step)
    def step(state, images, labels):
        return train_step(state, *split_rows(mesh, images, labels))

    return step


def gather(mesh: Mesh, tree: Any) -> Any:
    """The same arrays, replicated on every device; replicated arrays are not copied."""
    return jax.device_put(tree, replicated(mesh))


def to_devices(mesh: Mesh, *arrays: np.ndarray) -> tuple[jax.Array, ...]:
    """Global arrays from this process's part of a batch, sharded along axis 0."""
    sharding = split_batch(mesh)
    return tuple(jax.make_array_from_process_local_data(sharding, a) for a in arrays)


def to_every_device(mesh: Mesh, tree: Any) -> Any:
    """Global replicated arrays from arrays that are equal in every process."""
    sharding = replicated(mesh)
    return jax.tree.map(
        lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), tree
    )
