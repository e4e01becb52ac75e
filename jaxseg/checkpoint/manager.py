"""Checkpoints by Orbax: asynchronous, atomic, the newest and the best kept.

On a disk a checkpoint is written beside its place and renamed when it is whole. A bucket knows no
renaming: there it is written in its place, and whole once `commit_success.txt`, the last, is there.
"""

import logging
import pathlib
import re
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.tree_util import keystr
from orbax.checkpoint import checkpoint_managers as policies

from jaxseg.checkpoint.steps import find_step, whole_steps
from jaxseg.distributed.multihost import wait_for_others
from jaxseg.errors import InputError
from jaxseg.utils.bucket import absolute, is_bucket

State = TypeVar("State")


class _Quiet(logging.Filter):
    """Drops Orbax's warnings about checkpoints without scores, as most of ours are, and about ones
    that come soon after each other, which a busy disk is enough for."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return "did not provide metrics" not in text and "Waiting for previous save" not in text


logging.getLogger("absl").addFilter(_Quiet())


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      folder: where they are, on a disk or in a bucket; made if need be.
      keep_last: how many of the newest to keep.
      keep_best: how many of those with the highest mean IoU to keep besides.
      clean: remove what a killed process left unfinished; not while another process saves here.

    Attributes:
      removed: names of the unfinished ones that `clean` removed.
    """

    def __init__(
        self, folder: pathlib.Path, keep_last: int = 1, keep_best: int = 1, clean: bool = False
    ):
        self._folder = absolute(folder)
        self.removed: list[str] = []
        if clean:
            if jax.process_index() == 0:
                self.removed = _remove_unfinished(self._folder)
            wait_for_others("unfinished checkpoints are removed")
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=not is_bucket(folder),  # or it would make the bucket itself
                best_fn=_mean_iou,
                best_mode="max",
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(keep_last),
                        policies.BestN(
                            get_metric_fn=_mean_iou,
                            n=keep_best,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
            ),
        )

    def latest(self) -> int | None:
        """The newest step, or None."""
        return max(whole_steps(self._folder), default=None)

    def find(self, which: str | int) -> int:
        """As `find_step`."""
        return find_step(self._folder, which)

    def save(self, step: int, state, position: dict, scores: dict | None = None) -> None:
        """Starts to save; returns as soon as `state` may change. `scores` must hold `mean_iou`."""
        metrics = None if scores is None else {"mean_iou": scores["mean_iou"]}
        self._manager.wait_until_finished()
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeSave(state), position=ocp.args.JsonSave(position)
            ),
            metrics=metrics,
            force=True,
        )

    def restore(self, step: int, like: State) -> tuple[State, dict]:
        """The state and the data position of a step.

        Args:
          step: one that exists.
          like: the state as `jax.ShapeDtypeStruct`s with shardings.

        Raises:
          InputError: it is the state of another network, or of another version of jaxseg.
        """
        self.wait()
        self._check_same_arrays(step, like)
        state = ocp.args.PyTreeRestore(
            like,
            restore_args=ocp.checkpoint_utils.construct_restore_args(like),
            partial_restore=True,  # an older version may not have had a part that is empty here
        )
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=state, position=ocp.args.JsonRestore())
        )
        return restored["state"], restored["position"]

    def _check_same_arrays(self, step: int, like) -> None:
        """Raises InputError where the arrays of a checkpoint are not those of `like`."""
        kept, wanted = _shapes(_metadata(self._folder, step)), _shapes(like)
        for name in sorted(kept.keys() | wanted.keys()):
            if kept.get(name) != wanted.get(name):
                here, there = (
                    "no such array" if shape is None else f"shape {shape}"
                    for shape in (kept.get(name), wanted.get(name))
                )
                raise InputError(
                    f"The checkpoint of step {step} in {self._folder} is none that this jaxseg can "
                    f"go on from: for {name} it has {here}, and this run {there}.",
                    "Go on with the version that wrote it, or start in another workdir from its "
                    "weights, by config.init.pretrained=WORKDIR.",
                )

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go."""
        self._manager.close()


def restore_variables(folder: pathlib.Path, step: int) -> dict:
    """The parameters and statistics in a checkpoint, whatever network and optimiser it is of: their
    moving average, where the run kept one.

    Args:
      folder: of the checkpoints.
      step: one that is whole.

    Returns:
      `{"params": ..., "batch_stats": ...}` of NumPy arrays, as they were saved.
    """
    tree = _metadata(folder, step)
    averaged = bool(tree.get("average"))
    there = tree["average"] if averaged else tree
    names = [name for name in ("params", "batch_stats") if name in there]
    like = {
        n: jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), there[n]) for n in names
    }
    like = {"average": like} if averaged else like
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
    wanted = ocp.args.PyTreeRestore(item=like, restore_args=as_numpy, partial_restore=True)
    handler = ocp.PyTreeCheckpointHandler()
    restored = handler.restore(absolute(folder) / str(step) / "state", args=wanted)
    handler.close()
    restored = restored["average"] if averaged else restored
    return {"params": restored["params"], "batch_stats": restored.get("batch_stats", {})}


def _remove_unfinished(folder: pathlib.Path) -> list[str]:
    """Removes unfinished checkpoints, which Orbax would count among those to keep."""
    whole = set(map(str, whole_steps(folder)))
    found = [p for p in folder.glob("*") if re.fullmatch(r"\d+(\.orbax-checkpoint-tmp.*)?", p.name)]
    unfinished = sorted((p for p in found if p.name not in whole), key=lambda p: p.name)
    for path in unfinished:
        absolute(path).rmtree()
    return [p.name for p in unfinished]


def abstract(state: State, shardings: Any) -> State:
    """The shapes and dtypes of `state`, placed as `shardings` say, for `restore`.

    `shardings` is one for each array, or one for a whole part of the tree.
    """
    return jax.tree.map(
        lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where),
        state,
        jax.tree.broadcast(shardings, state),
    )


def _metadata(folder: pathlib.Path, step: int) -> dict:
    """The tree of a checkpoint's state, with shape and dtype for each array; no array is read."""
    handler = ocp.PyTreeCheckpointHandler()
    tree = handler.metadata(absolute(folder) / str(step) / "state").tree
    handler.close()
    return tree


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    """The shape of each array by its path, the same for a state and for Orbax's metadata."""
    arrays, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {keystr(path, simple=True, separator="/"): tuple(a.shape) for path, a in arrays}


def _mean_iou(metrics: dict) -> float:
    return metrics["mean_iou"]
