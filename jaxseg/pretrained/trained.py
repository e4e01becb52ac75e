"""Opens a trained network, with its variables, classes and origin, from any source."""

import dataclasses
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import ml_collections
from flax.traverse_util import unflatten_dict

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import default_config, load_config
from jaxseg.data import DataInfo
from jaxseg.errors import InputError
from jaxseg.models import SegmentationModel
from jaxseg.pretrained.folder import JaxsegFile, check_exported, unnamed_classes
from jaxseg.pretrained.load import load, suggest
from jaxseg.pretrained.read import read_weights
from jaxseg.pretrained.run import check_classes, saved_metrics
from jaxseg.pretrained.tensor_file import TensorFile
from jaxseg.pretrained.zoo.names import located
from jaxseg.pretrained.zoo.rows import unknown


@dataclasses.dataclass(frozen=True, repr=False)
class Trained:
    """A trained network.

    Attributes:
      model: the network.
      variables: parameters and statistics.
      info: names and colours of the classes.
      eval: the protocol, as a run's `config.eval`.
      card: its origin, ready for JSON; None for unknown values. "network" (a name for
        `create_model`), "path", "step" (of a run), "classes" (names), "data_set", "metrics" (of
        that step, by name), "source" (the file that it was converted from), "licence",
        "preprocessing" ("mean", "std").
      bands: endings of the names of an image's files, one per channel, as the run's
        `config.data.band_suffixes`; empty if a file has all channels.
    """

    model: SegmentationModel
    variables: dict[str, Any]
    info: DataInfo
    eval: ml_collections.ConfigDict
    card: dict[str, Any]
    bands: tuple[str, ...] = ()


def open_trained(name_or_path: str | os.PathLike, step: str | int = "last") -> Trained:
    """Opens a trained network.

    Args:
      name_or_path: a name of `jaxseg.list_pretrained`, `hf://owner/repo`, a run's workdir,
        `WORKDIR/checkpoints/STEP`, a folder written by `save_exported`, or a file of published
        weights.
      step: for a workdir: "last", "best" (by mean IoU) or the number of a step.

    Raises:
      InputError: it is none of these, is damaged, or has no logits layer.
    """
    path = located(name_or_path)
    if not os.path.lexists(path):
        raise unknown(name_or_path)
    file = read_weights(path, step)
    return _of_ours(file) if isinstance(file, JaxsegFile) else _of_others(file)


def load_run(
    workdir: str | os.PathLike, step: str | int = "last"
) -> tuple[SegmentationModel, dict[str, Any]]:
    """Loads the network and variables of a run, for your own code. It does not need the data set.

    Args:
      workdir: workdir of `python -m jaxseg train`.
      step: "last", "best" (by mean IoU) or the number of a step.

    Returns:
      The network, and the variables for its `apply`.

    Raises:
      InputError: no run, no such checkpoint, or a checkpoint that does not match the config.
    """
    trained = open_trained(Workdir.existing(workdir).path, step)
    return trained.model, trained.variables


def load_exported(folder: str | os.PathLike) -> tuple[SegmentationModel, dict[str, Any]]:
    """Loads a network and its variables from a folder written by `save_exported`.

    Returns:
      The network with all its fields, and float32 arrays for its `apply`.

    Raises:
      InputError: there is no such folder, or its two files are damaged or do not match.
    """
    check_exported(folder)
    trained = open_trained(folder)
    return trained.model, trained.variables


def _of_ours(file: JaxsegFile) -> Trained:
    """Loads the network of a run, or of a folder of `convert`."""
    info = file.info or unnamed_classes(file.model.num_classes)
    variables = unflatten_dict(
        {name: jnp.array(a, jnp.float32) for name, a in file.tensors.items()}, sep="/"
    )
    data_set, metrics = file.source.get("data_set"), file.source.get("metrics")
    if file.run is not None:
        check_classes(file, info)
        variables.setdefault("batch_stats", {})
        data_set = load_config(file.run.config).data.name
        metrics = saved_metrics(file.run, file.step)
    card = _card(file.name, file.model, info, file.run.path if file.run else file.path) | {
        "step": file.step,
        "data_set": data_set,
        "metrics": metrics,
        "source": file.source.get("file"),
        "licence": file.source.get("licence"),
    }
    asked = file.eval or default_config().eval
    return Trained(file.model, variables, info, asked, card, file.bands)


def _of_others(file: TensorFile) -> Trained:
    """Loads the network in a file of published weights."""
    fit = suggest(file)
    if fit.num_classes is None:
        raise InputError(
            f"{file.path} has no logits layer for {fit.model}: it is a backbone to start from.",
            "Train that network from it with config.init.pretrained, or give trained weights.",
        )
    model = fit.create()
    variables, report = load(model, file)
    info = unnamed_classes(model.num_classes)
    card = _card(fit.model, model, info, file.path)
    card |= {"source": file.path.name, "licence": report.licence}
    return Trained(model, variables, info, default_config().eval, card)


def _card(
    name: str, model: SegmentationModel, info: DataInfo, path: pathlib.Path
) -> dict[str, Any]:
    return {
        "network": name,
        "path": os.path.abspath(path),
        "step": None,
        "classes": list(info.class_names),
        "data_set": None,
        "metrics": None,
        "source": None,
        "licence": None,
        "preprocessing": {k: list(getattr(model.preprocessing, k)) for k in ("mean", "std")},
    }
