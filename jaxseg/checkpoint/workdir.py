"""A run's folder: its files, and whether a run may go on in it."""

import os
import pathlib
import re

import ml_collections

from jaxseg.checkpoint.steps import whole_steps
from jaxseg.config import flatten, load_config, save_config
from jaxseg.config.files import PATHS, absolute_path
from jaxseg.errors import InputError
from jaxseg.utils.bucket import folder_at, is_bucket, reaching
from jaxseg.utils.paths import given_path

# Fields that may change between two parts of one run without making it another run.
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
      checkpoints: where the checkpoints are, if not there: the config's `checkpoint.folder`. They
        have a copy of the config beside them, so that a run goes on where its workdir is lost, as
        the disk of a machine is that a cloud takes back.

    Attributes:
      path: the folder.
      config: the config as run (JSON).
      classes: names and colours of the classes (JSON).
      checkpoints: folder of the checkpoints.
      scores: the final scores (JSON).
      log: one JSON line for each logged step.
      picture: photo, truth, prediction and error of some evaluation images.
      pretrained: where every parameter came from, of a run that started from published weights.
      environment: versions, devices, commit and command of each part of the run (JSON).
    """

    def __init__(self, path: str | os.PathLike, checkpoints: str | None = None):
        if re.match(r"[a-z][a-z0-9]+:/", str(path)):  # pathlib makes one slash of two
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
        """The folder of a run that was started; of a training in stages, that of the last one.

        Raises:
          InputError: there is none, or its config.json is damaged.
        """
        workdir = cls(run_folder(cls(path).path))
        if not workdir.config.is_file():
            raise _no_run(workdir.path)
        return cls(workdir.path, load_config(workdir.config).checkpoint.folder)

    def open(self, config: ml_collections.ConfigDict) -> None:
        """Makes the folder, or checks that `config` goes on with the run that is there.

        Files of a run without a checkpoint do not count: any run may begin in its place.

        Raises:
          InputError: the folder or that of the checkpoints cannot be written or holds another run,
            or the run's checkpoints are elsewhere.
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
                self._check_same(config)
            if not is_bucket(self.checkpoints):
                self.checkpoints.mkdir(parents=True, exist_ok=True)
            if self._copy is not None:
                with reaching(self._copy):
                    save_config(config, self._copy)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The workdir {self.path} cannot be written: {error.strerror}.",
                "Give a --workdir that you can write to.",
            ) from None

    def check_shared(self) -> None:
        """To be asked once the first of several processes has opened the folder.

        Raises:
          InputError: this one's machine does not have the folder of the checkpoints.
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
        """The config beside checkpoints that are not in the workdir."""
        inside = self.checkpoints == self.path / "checkpoints"
        return None if inside else self.checkpoints / "config.json"

    def _check_not_elsewhere(self, steps: list[int]) -> None:
        """Raises InputError where the run's newest checkpoint is not in this folder's `steps`."""
        try:
            before = Workdir.existing(self.path).checkpoints
        except InputError:  # there is no run, or what there is of one is looked at next
            return
        there = [] if before == self.checkpoints else whole_steps(before)
        if there and there[-1] not in steps:
            raise InputError(
                f"The checkpoints of the run in {self.path} are in {before}; the newest, "
                f"{there[-1]}, is missing in {self.checkpoints}.",
                "Restore the old config.checkpoint.folder, copy the checkpoints, or give another "
                "--workdir.",
            )

    def _check_same(self, config: ml_collections.ConfigDict) -> None:
        copy = self._copy
        path = copy if copy is not None and copy.is_file() else self.config
        saved, now = flatten(load_config(path)), flatten(config)
        for field in sorted(now):
            if field.startswith(_FREE) or _same(field, saved[field], now[field]):
                continue
            raise InputError(
                f"The {'workdir' if path == self.config else 'folder'} {path.parent} contains a "
                f"run with {field} = {saved[field]!r}, not {now[field]!r}.",
                "Give another --workdir, or the config of that run. To start from its weights in "
                f"another workdir, set --config.init.pretrained={self.path}.",
            )


def _no_run(path: pathlib.Path) -> InputError:
    """The error for a folder that is no workdir; it names the workdir that may be meant."""
    remedy = "Give a folder written by `python -m jaxseg train --workdir`."
    if not path.is_dir():
        problem = "there is no such folder"
        beside = path.parent if path.parent.is_dir() else None
    else:
        problem, beside = "it has no config.json", path
    above = next((p for p in path.parents[:2] if (p / "config.json").is_file()), None)
    if above is not None and "checkpoints" in (path.name, path.parent.name):
        step = f" --step {path.name}" if path.name.isdecimal() else ""
        remedy = f"Give --workdir {above}{step}."
    elif beside is not None:
        runs = sorted(p.parent.name for p in beside.glob("*/config.json"))
        if runs:
            remedy = f"{beside} contains the runs {', '.join(runs[:6])}; give one of them."
    return InputError(f"{path} is not a run's workdir: {problem}.", remedy)


def _same(field: str, saved: object, now: object) -> bool:
    """Whether two values of a field mean the same; paths do that lead to one place."""
    if field == "train.batch_size" and now == 0:  # as the machine allowed when the run began
        return True
    if field in PATHS and isinstance(saved, str) and isinstance(now, str):
        return absolute_path(saved) == absolute_path(now)
    return saved == now


def stage_folders(path: pathlib.Path) -> list[pathlib.Path]:
    """The folders of stages that were started in the workdir `path`, in order; see `train_stages`.

    They are named by number and name, "1_fcn32s".
    """
    if not path.is_dir():
        return []
    found = [p for p in path.glob("*_*") if re.fullmatch(r"\d+_\w+", p.name)]
    started = [p for p in found if (p / "config.json").is_file()]
    return sorted(started, key=lambda p: int(p.name.partition("_")[0]))


def run_folder(path: pathlib.Path) -> pathlib.Path:
    """The folder of the last stage that was started in `path`; `path` itself where it has none."""
    return (stage_folders(path) or [path])[-1]
