"""Opens the network of a run, from one of its checkpoints."""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
from flax.traverse_util import flatten_dict

from jaxseg.checkpoint.damage import DamagedCheckpoint, RemovedCheckpoint
from jaxseg.checkpoint.steps import find_step, missing_files, saved_mean_iou, whole_steps
from jaxseg.checkpoint.workdir import Workdir, run_folder
from jaxseg.config import load_config
from jaxseg.data import DataInfo, load_classes, open_data
from jaxseg.errors import InputError
from jaxseg.models import model_from_config
from jaxseg.pretrained.folder import JaxsegFile
from jaxseg.utils.bucket import is_bucket
from jaxseg.utils.json_files import read_object

_TRIES = 20  # to find a checkpoint that is not removed while it is read


def is_run(path: pathlib.Path) -> bool:
    """Whether the folder has the config of a run, or is a checkpoint of a run."""
    return os.path.isfile(_workdir(run_folder(path)).config)


def read_run(path: pathlib.Path, step: str | int = "last") -> JaxsegFile:
    """Opens the network of a run, without its optimizer state and its data set.

    Args:
      path: a run's workdir (for a training in stages, the last stage that was started), or
        `WORKDIR/checkpoints/STEP`.
      step: for a workdir: "last", "best" (by mean IoU) or the number of a step.

    Raises:
      InputError: no run, no such checkpoint, a checkpoint that does not match the config, or a
        damaged file.
    """
    path = run_folder(path)
    run = Workdir.existing(_workdir(path).path)
    config = load_config(run.config)
    found, variables = _restored(run.checkpoints, step if run.path == path else path.name)
    tensors = flatten_dict(variables, sep="/")
    model = model_from_config(config.model, _classes(tensors), config.data)
    _check_fits(tensors, model, config, f"The checkpoint of step {found} in {run.checkpoints}")
    return JaxsegFile(
        path=path,
        container="jaxseg",
        tensors=tensors,
        notes=(f"These are the weights of step {found}.",),
        name=config.model.name,
        model=model,
        info=_class_info(run, config),
        eval=config.eval,
        run=run,
        step=found,
        bands=config.data.band_suffixes,
    )


def _restored(folder: pathlib.Path, which: str | int) -> tuple[int, dict]:
    """The step and the variables of the checkpoint `which`.

    A run in training removes old checkpoints. If the chosen one is removed, a newer one exists.

    Raises:
      InputError: there is none, or it is damaged; the message names an older one.
    """
    from jaxseg.checkpoint.reading import restore_variables  # imports Orbax, which takes a second

    for _ in range(_TRIES):
        step = find_step(folder, which)
        if which == "last":
            _check_newest(folder, step)
        try:
            return step, restore_variables(folder, step)
        except RemovedCheckpoint as error:
            removed = error
        except DamagedCheckpoint as error:
            raise InputError(error.problem, _other_step(folder, step)) from error
    raise removed


def _check_newest(folder: pathlib.Path, step: int) -> None:
    """Raises InputError if a newer checkpoint than `step` lacks files.

    On a disk, a checkpoint gets its name when it is complete. A bucket shows unfinished ones too.
    """
    if is_bucket(folder):
        return
    newer = [p for p in folder.glob("*") if re.fullmatch(r"\d+", p.name) and int(p.name) > step]
    lacking = [p for p in newer if missing_files(p)]
    if lacking:
        place = max(lacking, key=lambda p: int(p.name))
        raise InputError(
            f"The newest checkpoint, of step {place.name} in {folder}, is damaged. Missing: "
            f"{', '.join(missing_files(place)) or 'a part'}.",
            _other_step(folder, int(place.name)),
        )


def _other_step(folder: pathlib.Path, step: int) -> str:
    others = [other for other in whole_steps(folder) if other != step]
    if not others:
        return "It is the only checkpoint; copy it again from an undamaged one, or train again."
    return (
        f"Copy it again, give --step {others[-1]}, or resume training, which falls back to an "
        "older checkpoint."
    )


def check_classes(file: JaxsegFile, info: DataInfo) -> None:
    """Raises InputError if a run's network and `info` differ in their number of classes."""
    if file.model.num_classes != info.num_classes:
        raise InputError(
            f"The checkpoint of step {file.step} in {file.path} has {file.model.num_classes} "
            f"classes, but the data set has {info.num_classes}.",
            "Use the classes that the run was trained on, in the same order.",
        )


def saved_metrics(run: Workdir, step: int | None) -> dict[str, float] | None:
    """The metrics in a run's `scores.json`, if they belong to that step; otherwise None.

    For a checkpoint that was evaluated during training, only the mean IoU is known.
    """
    try:
        scores = read_object(run.scores)
        if scores["step"] == step:
            return {name: value for name, value in scores.items() if isinstance(value, float)}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    mean_iou = None if step is None else saved_mean_iou(run.checkpoints, step)
    return None if mean_iou is None else {"mean_iou": mean_iou}


def _workdir(path: pathlib.Path) -> Workdir:
    return Workdir(path.parents[1] if path.parent.name == "checkpoints" else path)


def _classes(tensors: Mapping[str, Any]) -> int:
    """The number of classes of a network, from its variables."""
    return next(a.shape[-1] for name, a in tensors.items() if "score" in name.split("/")[-2])


def _class_info(run: Workdir, config: ml_collections.ConfigDict) -> DataInfo | None:
    """Names and colours of a run's classes: from its own file, or, for runs of an older jaxseg
    without this file, from its data set. None if neither exists.

    Raises:
      InputError: a file of the run is damaged.
    """
    if run.classes.is_file():
        return load_classes(run.classes)
    try:
        return open_data(config.data, "eval", config.seed).info
    except InputError:  # the data set may have been moved
        return None


def _check_fits(
    tensors: Mapping[str, Any], model: nn.Module, config: ml_collections.ConfigDict, what: str
) -> None:
    """Raises InputError unless the variables match those of `model`, in paths and shapes.

    Args:
      tensors: the variables by path.
      model: the network.
      config: config of the run, for an image size that the network supports.
      what: the checkpoint, as the start of a message.
    """
    size = config.eval.input_size or config.augment.crop or config.augment.resize or (224, 224)
    image = jax.ShapeDtypeStruct((1, *size, config.data.channels), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    wanted = {name: a.shape for name, a in flatten_dict(shapes, sep="/").items()}
    kept = {name: a.shape for name, a in tensors.items()}
    for name in sorted(kept.keys() | wanted.keys(), key=lambda n: ("score" in n, n)):
        here, there = kept.get(name), wanted.get(name)
        if here == there:
            continue
        has = f"has {name} of shape {here}" if here is not None else f"lacks {name}"
        takes = "has none" if there is None else f"has shape {there}"
        raise InputError(
            f"{what} does not match the network in config.json: it {has}, but that network "
            f"{takes}.",
            "Restore the original config.json of the run, or train in another workdir.",
        )
