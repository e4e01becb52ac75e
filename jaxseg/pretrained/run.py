"""The network of a run, from one of its checkpoints."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict

from jaxseg.checkpoint.manager import restore_variables, whole_steps
from jaxseg.checkpoint.workdir import Workdir, run_folder
from jaxseg.config import load_config
from jaxseg.data import DataInfo, load_classes, open_data
from jaxseg.errors import InputError
from jaxseg.models import model_from_config
from jaxseg.pretrained.folder import JaxsegFile


def is_run(path: pathlib.Path) -> bool:
    """Whether `read_run` may be asked: the folder has a run's config or lies in its checkpoints."""
    return os.path.isfile(_workdir(run_folder(path)).config)


def read_run(path: pathlib.Path) -> JaxsegFile:
    """The network that a run has trained, without its optimiser, and without its data set.

    Args:
      path: a run's workdir, for its newest checkpoint (of a training in stages, that of the last
        one that was started), or `WORKDIR/checkpoints/STEP`.

    Raises:
      InputError: there is no such checkpoint, or the run's config is damaged.
    """
    path = run_folder(path)
    run = Workdir.existing(_workdir(path).path)
    config, steps = load_config(run.config), whole_steps(run.checkpoints)
    wanted = steps[-1:] if run.path == path else [s for s in steps if str(s) == path.name]
    if not wanted:
        there = f"it has {', '.join(map(str, steps))}" if steps else "it has none"
        raise InputError(
            f"The run {run.path} has no such checkpoint as {path}; {there}.",
            "Give the workdir of a run that has saved one, or WORKDIR/checkpoints/STEP.",
        )
    tensors = flatten_dict(restore_variables(run.checkpoints, wanted[0]), sep="/")
    classes = scored_classes(tensors)
    info = class_info(run)
    return JaxsegFile(
        path=path,
        container="jaxseg",
        tensors=tensors,
        notes=(f"These are the weights of step {wanted[0]}.",),
        name=config.model.name,
        model=model_from_config(config.model, classes),
        class_names=info.class_names if info and info.num_classes == classes else None,
    )


def _workdir(path: pathlib.Path) -> Workdir:
    return Workdir(path.parents[1] if path.parent.name == "checkpoints" else path)


def scored_classes(tensors: Mapping[str, Any]) -> int:
    """How many classes the variables of a network, by their paths, give scores of."""
    return next(a.shape[-1] for name, a in tensors.items() if "score" in name.split("/")[-2])


def class_info(run: Workdir) -> DataInfo | None:
    """Names and colours of a run's classes: of its own file or, where an older jaxseg has not
    written that, of its data set. None where neither is there.

    Raises:
      InputError: a file of the run is damaged.
    """
    if run.classes.is_file():
        return load_classes(run.classes)
    config = load_config(run.config)
    try:
        return open_data(config.data, "eval", config.seed).info
    except InputError:  # the data set is elsewhere by now
        return None
