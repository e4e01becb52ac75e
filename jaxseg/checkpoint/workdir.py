"""The workdir of a run: its files, and the check whether a run may resume in it."""

import os
import pathlib
import re
import shlex

import ml_collections

from jaxseg.checkpoint.steps import whole_steps
from jaxseg.config import flatten, load_config, save_config
from jaxseg.config.files import PATHS, absolute_path
from jaxseg.errors import InputError
from jaxseg.utils.access import reason
from jaxseg.utils.bucket import folder_at, is_bucket, reaching
from jaxseg.utils.paths import given_path, meant_path

# Fields that may change when a run is resumed.
_FREE = (
    "log.",
    "eval.",
    "checkpoint.",
    "data.threads",
    "data.workers",
    "data.prefetch",
    "data.cache",
    "data.root",
    "train.steps",
    "train.max_minutes",
    "train.patience",
    "train.fsdp",
    "train.space",
)


class Workdir:
    """The files of a run.

    Args:
      path: the folder.
      checkpoints: folder of the checkpoints if outside the workdir: the config's
        `checkpoint.folder`. A copy of the config is stored next to them, so that a run can resume
        after its workdir is lost, for example with the disk of a preempted cloud machine.

    Attributes:
      path: the folder.
      config: the config of the run (JSON).
      classes: names and colours of the classes (JSON).
      checkpoints: folder of the checkpoints.
      scores: the final metrics (JSON).
      log: one JSON line per logged step.
      picture: image, truth, prediction and error of some evaluation images.
      pretrained: the source of every parameter, if the run started from published weights.
      environment: versions, devices, commit and command of each part of the run (JSON).
    """

    def __init__(self, path: str | os.PathLike, checkpoints: str | None = None):
        if re.match(r"[a-z][a-z0-9]+:/", str(path)):  # pathlib turns two slashes into one
            raise InputError(
                f"The workdir {path} is a bucket, not a folder.",
                "Give a folder. To store the checkpoints in a bucket, set "
                "config.checkpoint.folder=gs://BUCKET/PATH.",
            )
        self.path = given_path(path)
        self.config = self.path / "config.json"
        self.classes = self.path / "classes.json"
        self.checkpoints = folder_at(checkpoints) if checkpoints else self.path / "checkpoints"
        self.scores = self.path / "scores.json"
        self.log = self.path / "metrics.jsonl"
        self.picture = self.path / "predictions.png"
        self.pretrained = self.path / "pretrained.txt"
        self.environment = self.path / "environment.json"

    @classmethod
    def existing(cls, path: str | os.PathLike) -> "Workdir":
        """The workdir of a run that was started; for a training in stages, that of the last stage.

        Raises:
          InputError: there is no run, or its config.json is damaged.
        """
        workdir = cls(run_folder(cls(path).path))
        if not workdir.config.is_file():
            raise _no_run(workdir.path)
        return cls(workdir.path, load_config(workdir.config).checkpoint.folder)

    def open(self, config: ml_collections.ConfigDict) -> None:
        """Creates the folder, or checks that `config` can resume the run in it.

        Files of a run without a checkpoint are ignored: any run may start in its place.

        Raises:
          InputError: the workdir or the checkpoint folder cannot be written or contains another
            run, or the run's checkpoints are in another folder.
        """
        stages = stage_folders(self.path)
        if stages:
            raise InputError(
                f"The workdir {self.path} contains the stages of another training.",
                f"Give another --workdir, or that of one stage: {stages[-1]}.",
            )
        try:
            steps = whole_steps(self.checkpoints)
            self._check_not_elsewhere(steps)
            if steps:
                self.check_same(config)
            if not is_bucket(self.checkpoints):
                self.checkpoints.mkdir(parents=True, exist_ok=True)
            if self._copy is not None:
                with reaching(self._copy):
                    save_config(config, self._copy)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The workdir {self.path} cannot be written: {reason(error)}.",
                "Give a --workdir that you can write to.",
            ) from None

    def check_present(self) -> None:
        """Raises InputError if the workdir was removed while its run was going on."""
        if not self.config.is_file():
            raise InputError(
                f"The workdir {self.path} was removed or emptied during the run.",
                "Remove what is left of it, and run the same command to start again.",
            )

    def check_shared(self) -> None:
        """Called by the other processes after the first one has opened the folder.

        Raises:
          InputError: the checkpoint folder does not exist on this process's machine.
        """
        if not is_bucket(self.checkpoints) and not self.checkpoints.is_dir():
            raise InputError(
                f"The first process created the folder {self.checkpoints}, but it does not exist "
                "on this machine.",
                "Give a --workdir on a disk that all machines share, or "
                "config.checkpoint.folder=gs://BUCKET/PATH.",
            )

    @property
    def _copy(self) -> pathlib.Path | None:
        """The copy of the config next to checkpoints outside the workdir."""
        inside = self.checkpoints == self.path / "checkpoints"
        return None if inside else self.checkpoints / "config.json"

    def _check_not_elsewhere(self, steps: list[int]) -> None:
        """Raises InputError if the run's newest checkpoint is not among this folder's `steps`."""
        try:
            before = Workdir.existing(self.path).checkpoints
        except InputError:  # there is no run, or the next check finds out what is wrong with it
            return
        there = [] if before == self.checkpoints else whole_steps(before)
        if there and there[-1] not in steps:
            raise InputError(
                f"The checkpoints of the run in {self.path} are in {before}; the newest, "
                f"{there[-1]}, is missing in {self.checkpoints}.",
                "Restore the old config.checkpoint.folder, copy the checkpoints, or give another "
                "--workdir.",
            )

    def check_same(self, config: ml_collections.ConfigDict) -> None:
        """Raises InputError if `config` cannot resume the run in the workdir."""
        copy = self._copy
        path = copy if copy is not None and copy.is_file() else self.config
        if not path.is_file():  # the rest of a workdir that was removed
            raise InputError(
                f"{self.checkpoints} contains checkpoints of a run whose config.json is missing.",
                f"Remove {self.checkpoints}, restore {self.config}, or give another --workdir.",
            )
        saved, now = flatten(load_config(path)), flatten(config)
        for field in sorted(now):
            if field.startswith(_FREE) or _same(field, saved[field], now[field]):
                continue
            raise InputError(
                f"The {'workdir' if path == self.config else 'folder'} {path.parent} contains a "
                f"run with {field} = {saved[field]!r}, not {now[field]!r}.",
                f"Resume it with {_option(field, saved[field])}, or give another --workdir. To "
                "start from its weights in another workdir, set "
                f"--config.init.pretrained={self.path}.",
            )


def _no_run(path: pathlib.Path) -> InputError:
    """The error for a folder that is not a workdir; it suggests the workdir that may be meant."""
    remedy = "Give a folder written by `python -m jaxseg train --workdir`."
    if not path.is_dir():
        problem, meant = "there is no such folder", meant_path(path)
        if meant is not None:
            return InputError(
                f"{path} is not a run's workdir: {problem}.", f"Did you mean {meant}?"
            )
        beside = path.parent if path.parent.is_dir() else None
    else:
        problem, beside = "it has no config.json", path
    above = run_above(path)
    if above is not None:
        step = f" --step {path.name}" if path.name.isdecimal() else ""
        remedy = f"Give --workdir {above}{step}."
    elif beside is not None:
        remedy = runs_in(beside) or remedy
    return InputError(f"{path} is not a run's workdir: {problem}.", remedy)


def run_above(path: pathlib.Path) -> pathlib.Path | None:
    """The workdir of a run, given its folder `checkpoints` or a folder inside; None for others."""
    inside = (p.parent for p in (path, *path.parents) if p.name == "checkpoints")
    return next((p for p in inside if (p / "config.json").is_file()), None)


def runs_in(folder: pathlib.Path) -> str | None:
    """A sentence that names the runs in a folder; None without any."""
    runs = sorted(p.parent.name for p in folder.glob("*/config.json"))
    more = ", ..." if len(runs) > 6 else ""
    names = ", ".join(runs[:6]) + more
    return f"{folder} contains the runs {names}; give one of them." if runs else None


def _option(field: str, value: object) -> str:
    """The command-line option that sets a config field to `value`."""
    option = f"--config.{field}={value}"
    return option if re.fullmatch(r"[\w.,=/:+-]+", option) else shlex.quote(option)


def _same(field: str, saved: object, now: object) -> bool:
    """Whether two values of a field are equivalent; paths are if they name the same place."""
    if field == "train.batch_size" and now == 0:  # 0: chosen for the machine when the run began
        return True
    if field in PATHS and isinstance(saved, str) and isinstance(now, str):
        return absolute_path(saved) == absolute_path(now)
    return saved == now


def stage_folders(path: pathlib.Path) -> list[pathlib.Path]:
    """The folders of the stages started in the workdir `path`, in order; see `train_stages`.

    Their names consist of a number and a name: "1_fcn32s".
    """
    if not path.is_dir():
        return []
    found = [p for p in path.glob("*_*") if re.fullmatch(r"\d+_\w+", p.name)]
    started = [p for p in found if (p / "config.json").is_file()]
    return sorted(started, key=lambda p: int(p.name.partition("_")[0]))


def run_folder(path: pathlib.Path) -> pathlib.Path:
    """The folder of the last stage started in `path`; `path` itself if it has no stages."""
    return (stage_folders(path) or [path])[-1]
