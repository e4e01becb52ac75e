"""Reads a checkpoint without its run, and compares arrays with their saved checksums."""

import contextlib
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

import jaxseg.checkpoint.orbax_log  # noqa: F401
from jaxseg.checkpoint.checksums import differing, named
from jaxseg.checkpoint.damage import DamagedCheckpoint, reading_step
from jaxseg.checkpoint.lease import lease
from jaxseg.utils.bucket import absolute
from jaxseg.utils.json_files import read_object


def restore_variables(folder: pathlib.Path, step: int) -> dict:
    """Returns the parameters and statistics of a checkpoint of any network and optimizer; their
    moving average if the run kept one.

    Args:
      folder: folder of the checkpoints.
      step: step of a complete checkpoint.

    Returns:
      `{"params": ..., "batch_stats": ...}` of NumPy arrays, as saved.

    Raises:
      DamagedCheckpoint: the arrays differ from those saved.
      RemovedCheckpoint: the writing run removed the checkpoint during the read.
    """
    with lease(folder, step), reading_step(folder, step):
        about = saved_about(folder, step)
        tree = saved_tree(folder, step)
        check_metadata(folder, step, tree, about)
        averaged = bool(tree.get("average"))
        there = tree["average"] if averaged else tree
        names = [name for name in ("params", "batch_stats") if name in there]
        like = {
            n: jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), there[n])
            for n in names
        }
        like = {"average": like} if averaged else like
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        wanted = ocp.args.PyTreeRestore(item=like, restore_args=as_numpy, partial_restore=True)
        with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
            restored = handler.restore(absolute(folder) / str(step) / "state", args=wanted)
        check_values(folder, step, restored, about)
        restored = restored["average"] if averaged else restored
        return {"params": restored["params"], "batch_stats": restored.get("batch_stats", {})}


def saved_about(folder: pathlib.Path, step: int) -> dict:
    """The saved checksums and data of a checkpoint; empty for one of an older jaxseg."""
    place = folder / str(step)
    if "checksums" not in read_object(place / "_CHECKPOINT_METADATA").get("item_handlers", {}):
        return {}
    return read_object(place / "checksums" / "metadata")


def saved_train_steps(folder: pathlib.Path, step: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return saved_about(folder, step).get("train_steps")
    return None


def check_metadata(folder: pathlib.Path, step: int, tree: Any, about: dict) -> None:
    """Raises DamagedCheckpoint if Orbax's list of arrays is not the saved one."""
    saved = {name: (tuple(e["shape"]), e["dtype"]) for name, e in about.get("arrays", {}).items()}
    found = {name: (tuple(a.shape), str(np.dtype(a.dtype))) for name, a in named(tree).items()}
    if about and found != saved:
        raise DamagedCheckpoint(folder, step, "its arrays do not match those in the checkpoint")


def check_values(folder: pathlib.Path, step: int, tree: Any, about: dict) -> None:
    """Raises DamagedCheckpoint if an array of `tree` does not match its checksum."""
    wrong = differing(tree, about["arrays"]) if about else None
    if wrong is not None:
        raise DamagedCheckpoint(folder, step, f"the checksum of {wrong} does not match")


def saved_tree(folder: pathlib.Path, step: int) -> dict:
    """The pytree of a checkpoint's state, with shape and dtype of each array; reads no array."""
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        return handler.metadata(absolute(folder) / str(step) / "state").tree
