"""Opens several runs, by the names of their workdirs."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from jaxseg.errors import InputError
from jaxseg.evaluation.trained_run import TrainedRun, open_run
from jaxseg.report.folds import are_folds
from jaxseg.utils.paths import given_path


def open_runs(
    workdirs: Sequence[str | os.PathLike],
    step: str | int = "last",
    fields: Mapping[str, Any] | None = None,
) -> dict[str, TrainedRun]:
    """Opens runs; returns them by name, in the given order.

    Args:
      workdirs: runs; or names, folders and files for `jaxseg.load`.
      step: "last", "best" or the number of a step.
      fields: config fields to change, by dotted name.

    Raises:
      InputError: no run or no such checkpoint in a workdir, no such field, or two runs with the
        same name.
    """
    runs: dict[str, TrainedRun] = {}
    for workdir in workdirs:
        name = _name(workdir)
        if name in runs:
            raise InputError(f"Two workdirs have the name {name}.", "Rename one of them.")
        runs[name] = open_run(workdir, step, fields)
    return runs


def _name(workdir: str | os.PathLike) -> str:
    """The name of a run's workdir, or of a published network."""
    text = os.fspath(workdir)
    if text.startswith("hf://") or not os.path.lexists(given_path(workdir)):
        return text.rpartition("/")[2]
    return given_path(workdir).resolve().name


def check_same_images(runs: dict[str, TrainedRun]) -> None:
    """Raises InputError unless all runs are evaluated on the same classes and images.

    The folds of a cross-validation may differ in their images.
    """
    (first, one), *others = runs.items()
    folds = are_folds([run.config for run in runs.values()])
    for name, other in others:
        for what in (_classes,) if folds else (_classes, _images):
            if what(one) != what(other):
                raise InputError(
                    f"{first} is evaluated on {what(one)[0]}, but {name} on {what(other)[0]}, so "
                    "their metrics cannot be compared.",
                    "Write a separate report for each.",
                )


def _classes(run: TrainedRun) -> tuple[str, tuple]:
    info = run.source.info
    return f"the {info.num_classes} classes of {info.name}", info.class_names


def _images(run: TrainedRun) -> tuple[str, list]:
    source, split = run.source, run.config.data.eval_split
    entries = [(source.name(i), source.size(i)) for i in range(len(source))]
    (name, (height, width)), what = (
        entries[0],
        f"{len(source)} images of {source.info.name} {split}",
    )
    return f"{what} ({name} of {width}×{height} and so on)", entries
