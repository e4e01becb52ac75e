"""Asynchronous, atomic checkpoints by Orbax; keeps the newest and the best.

On a disk, a checkpoint is written to a temporary folder and renamed when it is complete. A bucket
has no rename: the checkpoint is written to its final folder, and is complete once its last file,
`commit_success.txt`, exists.
"""

import pathlib
import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

import jaxseg.checkpoint.orbax_log  # noqa: F401
from jaxseg.checkpoint.checksums import checksums, named
from jaxseg.checkpoint.damage import (
    DamagedCheckpoint,
    reading_step,
    silence_leftovers,
)
from jaxseg.checkpoint.lease import Leased, allow_leases, end_leases
from jaxseg.checkpoint.reading import (
    check_metadata,
    check_values,
    saved_about,
    saved_train_steps,
    saved_tree,
)
from jaxseg.checkpoint.steps import find_step, whole_steps
from jaxseg.distributed.multihost import gather_values, wait_for_others
from jaxseg.errors import InputError
from jaxseg.utils.bucket import absolute, is_bucket

State = TypeVar("State")
_DAMAGED = ".damaged"  # suffix of the name of a damaged checkpoint after it is renamed


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      folder: where they are, on a disk or in a bucket; created if missing.
      keep_last: number of newest checkpoints to keep.
      keep_best: number of checkpoints with the highest mean IoU to keep in addition.
      clean: whether to remove unfinished checkpoints of a killed process; requires that no other
        process saves here.

    Attributes:
      removed: names of the unfinished checkpoints that `clean` removed.
    """

    def __init__(
        self, folder: pathlib.Path, keep_last: int = 2, keep_best: int = 1, clean: bool = False
    ):
        silence_leftovers()  # also of a save that fails, such as on a full disk
        self._folder = absolute(folder)
        self.removed: list[str] = []
        if clean:
            if jax.process_index() == 0:
                self.removed = _remove_unfinished(self._folder)
                if not is_bucket(folder):
                    end_leases(folder)
            wait_for_others("unfinished checkpoints are removed")
        self._best = _Best(keep_best)
        kept: list[policies.PreservationPolicy] = [policies.LatestN(keep_last), self._best]
        self._leases = clean and not is_bucket(folder) and jax.process_count() == 1
        if self._leases:  # only for one process: several would have to agree
            allow_leases(folder)
            kept.append(Leased(folder))
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=not is_bucket(folder),  # Orbax would create the bucket itself
                best_fn=_mean_iou,
                best_mode="max",
                preservation_policy=policies.AnyPreservationPolicy(kept),
            ),
        )

    def latest(self) -> int | None:
        """The newest step, or None."""
        return max(whole_steps(self._folder), default=None)

    def compare_from(self, step: int) -> None:
        """From now on, the best checkpoints are among those after `step`, if any has metrics."""
        self._best.since = step

    def find(self, which: str | int) -> int:
        """Like `find_step`."""
        return find_step(self._folder, which)

    def save(
        self,
        step: int,
        state,
        position: dict,
        scores: dict | None = None,
        steps: int | None = None,
    ) -> None:
        """Starts an asynchronous save; returns as soon as `state` may be overwritten.

        Args:
          step: step of the state.
          state: a pytree of arrays; a checksum of each is saved too.
          position: the data position, integers.
          scores: metrics of the state; must include `mean_iou`.
          steps: total steps of the run, on which its learning rates depend.
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
        """Returns the saved state and data position of a step.

        Args:
          step: an existing step.
          like: the state as `jax.ShapeDtypeStruct`s with shardings.

        Raises:
          DamagedCheckpoint: the files differ from those saved.
          InputError: the state belongs to another network, or to another version of jaxseg.
        """
        self.wait()
        with reading_step(self._folder, step):
            about = saved_about(self._folder, step)
            self._check_same_arrays(step, like)
            state = ocp.args.PyTreeRestore(
                like,
                restore_args=ocp.checkpoint_utils.construct_restore_args(like),
                partial_restore=True,  # older versions lack some parts that are empty here
            )
            restored = self._manager.restore(
                step, args=ocp.args.Composite(state=state, position=ocp.args.JsonRestore())
            )
            if about and restored["position"] != about["position"]:
                raise DamagedCheckpoint(self._folder, step, "its data position differs")
            check_values(self._folder, step, restored["state"], about)
        return restored["state"], restored["position"]

    def restore_newest(
        self, like: State, steps: int, say: Callable[[str], None] = print
    ) -> tuple[int, State, dict] | None:
        """Returns step, state and data position of the newest intact checkpoint; None without any.

        A damaged checkpoint is reported and renamed, and the previous one is used: the run repeats
        its steps, bit for bit.

        Args:
          like: as in `restore`.
          steps: total steps of the run, as in `save`.
          say: receives the two lines of the report.

        Raises:
          DamagedCheckpoint: there is no older checkpoint, or the older one is from a run with
            another number of steps, so that the repeated steps would differ.
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
            seen = [words for words in gather_values(what) if words]  # damage seen by any process
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
        """Renames a damaged checkpoint, so that its step can be saved again."""
        step = damage.step
        before, then = (saved_train_steps(self._folder, s) for s in (older, step))
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
        """Raises InputError if the arrays of a checkpoint are not those of `like`."""
        tree = saved_tree(self._folder, step)
        check_metadata(self._folder, step, tree, saved_about(self._folder, step))
        kept, wanted = _shapes(tree), _shapes(like)
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
        """Waits for pending saves."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for pending saves and closes the manager."""
        try:
            self._manager.close()
        finally:
            if self._leases:
                end_leases(pathlib.Path(self._folder))


class _Best(policies.PreservationPolicy):
    """Preserves the `count` best of the checkpoints after the step `since`; those of earlier steps
    until a later one has metrics.
    """

    def __init__(self, count: int):
        self.since = 0
        self._count = count

    def should_preserve(self, checkpoints: Sequence, *, context) -> list[bool]:
        """Whether each of Orbax's checkpoints is among the best."""
        scored = [c for c in checkpoints if c.metrics is not None]
        later = [c for c in scored if c.step > self.since]
        scored = sorted(later or scored, key=lambda c: (_mean_iou(c.metrics), c.step))
        best = {c.step for c in scored[len(scored) - min(self._count, len(scored)) :]}
        return [c.step in best for c in checkpoints]


def _remove_unfinished(folder: pathlib.Path) -> list[str]:
    """Removes unfinished checkpoints; Orbax would count them among those to keep."""
    whole = set(map(str, whole_steps(folder)))
    found = [p for p in folder.glob("*") if re.fullmatch(r"\d+(\.orbax-checkpoint-tmp.*)?", p.name)]
    unfinished = sorted((p for p in found if p.name not in whole), key=lambda p: p.name)
    for path in unfinished:
        absolute(path).rmtree()
    return [p.name for p in unfinished]


def abstract(state: State, shardings: Any) -> State:
    """The shapes and dtypes of `state`, with `shardings`, for `restore`.

    `shardings` has one sharding per array, or one for a whole subtree.
    """
    return jax.tree.map(
        lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where),
        state,
        jax.tree.broadcast(shardings, state),
    )


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    """The shape of each array by path; a state and Orbax's metadata give the same paths."""
    return {name: tuple(a.shape) for name, a in named(tree).items()}


def _mean_iou(metrics: dict) -> float:
    value = metrics["mean_iou"]
    return value if value == value else -1.0  # NaN is never the best
