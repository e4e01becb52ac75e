"""Checkpoints by Orbax: asynchronous, atomic, the newest and the best kept.

On a disk a checkpoint is written beside its place and renamed when it is whole. A bucket knows no
renaming: there it is written in its place, and whole once `commit_success.txt`, the last, is there.
"""

import contextlib
import logging
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxseg.checkpoint.checksums import checksums, differing, named
from jaxseg.checkpoint.damage import DamagedCheckpoint, read_json, reading_step
from jaxseg.checkpoint.lease import Leased, allow_leases, end_leases, lease
from jaxseg.checkpoint.steps import find_step, whole_steps
from jaxseg.distributed.multihost import gather_values, wait_for_others
from jaxseg.errors import InputError
from jaxseg.utils.bucket import absolute, is_bucket

State = TypeVar("State")
_DAMAGED = ".damaged"  # what the name of a checkpoint ends in that is put aside


class _Quiet(logging.Filter):
    """Drops Orbax's warnings about checkpoints without scores, as most of ours are, and about ones
    that come soon after each other, which a busy disk is enough for; and the tracebacks that each
    of its threads prints of an error, which is raised all the same."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info and "orbax" in record.pathname:
            return False
        return "did not provide metrics" not in text and "Waiting for previous save" not in text


logging.getLogger("absl").addFilter(_Quiet())
logging.getLogger().addFilter(_Quiet())


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
        self, folder: pathlib.Path, keep_last: int = 2, keep_best: int = 1, clean: bool = False
    ):
        self._folder = absolute(folder)
        self.removed: list[str] = []
        if clean:
            if jax.process_index() == 0:
                self.removed = _remove_unfinished(self._folder)
                if not is_bucket(folder):
                    end_leases(folder)
            wait_for_others("unfinished checkpoints are removed")
        kept: list[policies.PreservationPolicy] = [
            policies.LatestN(keep_last),
            policies.BestN(
                get_metric_fn=_mean_iou, n=keep_best, keep_checkpoints_without_metrics=False
            ),
        ]
        self._leases = clean and not is_bucket(folder) and jax.process_count() == 1
        if self._leases:  # several processes would have to decide alike
            allow_leases(folder)
            kept.append(Leased(folder))
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=not is_bucket(folder),  # or it would make the bucket itself
                best_fn=_mean_iou,
                best_mode="max",
                preservation_policy=policies.AnyPreservationPolicy(kept),
            ),
        )

    def latest(self) -> int | None:
        """The newest step, or None."""
        return max(whole_steps(self._folder), default=None)

    def find(self, which: str | int) -> int:
        """As `find_step`."""
        return find_step(self._folder, which)

    def save(
        self,
        step: int,
        state,
        position: dict,
        scores: dict | None = None,
        steps: int | None = None,
    ) -> None:
        """Starts to save; returns as soon as `state` may change.

        Args:
          step: of the state.
          state: arrays, of which a checksum of each is saved, too.
          position: of the data, integers.
          scores: must hold `mean_iou`.
          steps: of the whole run, after which its learning rates go.
        """
        metrics = None if scores is None else {"mean_iou": scores["mean_iou"]}
        self._manager.wait_until_finished()
        about = {"arrays": checksums(state), "position": position, "train_steps": steps}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeSave(state),
                position=ocp.args.JsonSave(position),
                checksums=ocp.args.JsonSave(about),
            ),
            metrics=metrics,
            force=True,
        )

    def restore(self, step: int, like: State) -> tuple[State, dict]:
        """The state and the data position of a step, as they were saved.

        Args:
          step: one that exists.
          like: the state as `jax.ShapeDtypeStruct`s with shardings.

        Raises:
          DamagedCheckpoint: it is not what was saved.
          InputError: it is the state of another network, or of another version of jaxseg.
        """
        self.wait()
        with reading_step(self._folder, step):
            about = _about(self._folder, step)
            self._check_same_arrays(step, like)
            state = ocp.args.PyTreeRestore(
                like,
                restore_args=ocp.checkpoint_utils.construct_restore_args(like),
                partial_restore=True,  # an older version may not have had a part that is empty here
            )
            restored = self._manager.restore(
                step, args=ocp.args.Composite(state=state, position=ocp.args.JsonRestore())
            )
            if about and restored["position"] != about["position"]:
                raise DamagedCheckpoint(self._folder, step, "its data position differs")
            _check_values(self._folder, step, restored["state"], about)
        return restored["state"], restored["position"]

    def restore_newest(
        self, like: State, steps: int, say: Callable[[str], None] = print
    ) -> tuple[int, State, dict] | None:
        """The newest checkpoint that is whole: its step, state and data position; None without any.

        A damaged one is told of and put aside, and the one before it is taken: the run makes its
        steps again, bit for bit.

        Args:
          like: as in `restore`.
          steps: of the whole run, as in `save`.
          say: gets the two lines.

        Raises:
          DamagedCheckpoint: there is no older one, or it is of a run of another length, so that
            its steps would not be those that were taken.
          InputError: as `restore`.
        """
        damage: DamagedCheckpoint | None = None
        for step in reversed(whole_steps(self._folder)):
            if damage is not None:
                self._put_aside(damage, step, steps, say)
            found, what = None, None
            try:
                found = self.restore(step, like)
            except DamagedCheckpoint as error:
                what = error.what
            seen = [words for words in gather_values(what) if words]  # by any process
            if found is not None and not seen:
                return step, *found
            damage = DamagedCheckpoint(self._folder, step, seen[0])
        if damage is not None:
            raise InputError(
                damage.problem,
                "There is no older checkpoint; restore this one from a copy, or use "
                "another workdir.",
            )
        return None

    def _put_aside(
        self, damage: DamagedCheckpoint, older: int, steps: int, say: Callable[[str], None]
    ) -> None:
        """Makes room in the place of a damaged checkpoint by giving it another name."""
        step = damage.step
        before, then = (_train_steps(self._folder, s) for s in (older, step))
        if before not in (None, steps) and then != steps:
            raise InputError(
                damage.problem,
                f"Set config.train.steps={before} again. Training then resumes from step {older}; "
                "with another length the learning rates of the repeated steps would differ.",
            )
        if jax.process_index() == 0:
            place = self._folder / str(step)
            if is_bucket(self._folder):
                place.rmtree()
                where = "the damaged one is removed"
            else:
                aside = self._folder / f"{step}{_DAMAGED}"
                shutil.rmtree(aside, ignore_errors=True)
                place.rename(aside)
                where = f"the damaged one is kept as {aside.name}"
            say(damage.problem)
            say(
                f"resuming from the checkpoint of step {older}, {step - older} step(s) "
                f"earlier; {where}"
            )
        wait_for_others("the damaged checkpoint is put aside")
        self._manager.reload()

    def _check_same_arrays(self, step: int, like) -> None:
        """Raises InputError where the arrays of a checkpoint are not those of `like`."""
        kept, wanted = _shapes(_metadata(self._folder, step)), _shapes(like)
        entries = _about(self._folder, step).get("arrays")
        if entries is not None and kept != {n: tuple(e["shape"]) for n, e in entries.items()}:
            raise DamagedCheckpoint(
                self._folder, step, "its arrays do not match those in the checkpoint"
            )
        for name in sorted(kept.keys() | wanted.keys()):
            if kept.get(name) != wanted.get(name):
                here, there = (
                    "no such array" if shape is None else f"shape {shape}"
                    for shape in (kept.get(name), wanted.get(name))
                )
                raise InputError(
                    f"This version of jaxseg cannot resume from the checkpoint of step {step} in "
                    f"{self._folder}: for {name} the checkpoint has {here}, but this run has "
                    f"{there}.",
                    "Resume with the version that wrote it, or start another workdir from its "
                    "weights with config.init.pretrained=WORKDIR.",
                )

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go."""
        try:
            self._manager.close()
        finally:
            if self._leases:
                end_leases(pathlib.Path(self._folder))


def restore_variables(folder: pathlib.Path, step: int) -> dict:
    """The parameters and statistics in a checkpoint, whatever network and optimiser it is of: their
    moving average, where the run kept one.

    Args:
      folder: of the checkpoints.
      step: one that is whole.

    Returns:
      `{"params": ..., "batch_stats": ...}` of NumPy arrays, as they were saved.

    Raises:
      DamagedCheckpoint: they are not as they were saved.
      RemovedCheckpoint: the run that writes them removed it meanwhile.
    """
    with lease(folder, step), reading_step(folder, step):
        about = _about(folder, step)
        tree = _metadata(folder, step)
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
        _check_values(folder, step, restored, about)
        restored = restored["average"] if averaged else restored
        return {"params": restored["params"], "batch_stats": restored.get("batch_stats", {})}


def _about(folder: pathlib.Path, step: int) -> dict:
    """What was written of a checkpoint's arrays; empty for one of an older jaxseg."""
    place = folder / str(step)
    if "checksums" not in read_json(place / "_CHECKPOINT_METADATA").get("item_handlers", {}):
        return {}
    return read_json(place / "checksums" / "metadata")


def _train_steps(folder: pathlib.Path, step: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return _about(folder, step).get("train_steps")
    return None


def _check_values(folder: pathlib.Path, step: int, tree: Any, about: dict) -> None:
    """Raises DamagedCheckpoint where an array of `tree` is not what was saved."""
    wrong = differing(tree, about["arrays"]) if about else None
    if wrong is not None:
        raise DamagedCheckpoint(folder, step, f"the checksum of {wrong} does not match")


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
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        return handler.metadata(absolute(folder) / str(step) / "state").tree


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    """The shape of each array by its path, the same for a state and for Orbax's metadata."""
    return {name: tuple(a.shape) for name, a in named(tree).items()}


def _mean_iou(metrics: dict) -> float:
    return metrics["mean_iou"]
