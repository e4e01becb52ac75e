"""A trained network, from a run or published, with its evaluation images."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import ml_collections
from flax.traverse_util import unflatten_dict

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import default_config, load_config, score_otherwise
from jaxseg.data import Source, check_same_classes, open_data
from jaxseg.data.registry import PUBLISHED_NAMES
from jaxseg.data.relabeled import numbered_as
from jaxseg.distributed.devices import device_count
from jaxseg.distributed.mesh import make_mesh, to_every_device
from jaxseg.models import model_from_config
from jaxseg.models.base import IMAGE_FIELDS
from jaxseg.pretrained.folder import changed_fields
from jaxseg.pretrained.run import check_classes, is_run, read_run
from jaxseg.pretrained.trained import open_trained
from jaxseg.pretrained.zoo.names import located
from jaxseg.pretrained.zoo.rows import Row, find


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run with one of its checkpoints, or a network from another source.

    Attributes:
      config: the run's config; for another network, the defaults with its model, data set and
        protocol.
      source: the evaluation split.
      model: the network.
      variables: parameters and statistics of the checkpoint, on every device; their moving average
        if the run kept one.
      step: step of the checkpoint; 0 for a network from another source.
      log: the run's `metrics.jsonl`, which may not exist.
      published: its row in the registry of published networks, if any.
    """

    config: ml_collections.ConfigDict
    source: Source
    model: nn.Module
    variables: dict[str, Any]
    step: int
    log: pathlib.Path
    published: Row | None = None


def open_run(
    workdir: str | os.PathLike, step: str | int = "last", fields: Mapping[str, Any] | None = None
) -> TrainedRun:
    """Opens a run, or a network for `jaxseg.load`, for evaluation.

    Args:
      workdir: a run; or a name, folder or file for `jaxseg.load`.
      step: "last", "best" or the number of a step.
      fields: config fields to change, by dotted name.

    Raises:
      InputError: no run, no such field, no such checkpoint or one of another network, or the data
        set is missing, damaged or has other classes.
    """
    path = located(workdir)
    if os.path.lexists(path) and not is_run(path) and not _half_a_run(path):
        return _open_other(workdir, path, step, fields or {})
    folder = Workdir.existing(path)
    config = load_config(folder.config)
    score_otherwise(config, fields or {})
    source = open_data(config.data, "eval", config.seed)
    file = read_run(folder.path, step)
    check_classes(file, source.info)
    check_same_classes(source.info, folder.classes)
    variables = {"batch_stats": {}} | unflatten_dict(dict(file.tensors), sep="/")
    return TrainedRun(
        config,
        source,
        model_from_config(config.model, source.info.num_classes, config.data),
        to_every_device(make_mesh(device_count()), variables),
        file.step or 0,
        folder.log,
    )


def _open_other(
    name: str | os.PathLike, path: pathlib.Path, step: str | int, fields: Mapping[str, Any]
) -> TrainedRun:
    """Opens a network from another source, with the protocol of its published results."""
    trained = open_trained(path, step)
    row = None if os.path.lexists(name) else find(os.fspath(name))
    config = default_config()
    config.model.name = trained.card["network"]
    for field, value in changed_fields(config.model.name, trained.model).items():
        config["data" if field in IMAGE_FIELDS else "model"][field] = value
    config.data.band_suffixes = trained.bands
    config.eval = trained.eval.copy_and_resolve_references()
    if row is not None:
        score_otherwise(config, {f"eval.{field}": v for field, v in row.protocol.items()})
    if trained.card["data_set"] in PUBLISHED_NAMES:
        config.data.name = trained.card["data_set"]
    score_otherwise(config, fields)
    source = numbered_as(open_data(config.data, "eval", config.seed), trained.info)
    variables = {"batch_stats": {}} | trained.variables
    return TrainedRun(
        config,
        source,
        trained.model,
        to_every_device(make_mesh(device_count()), variables),
        0,
        path / "metrics.jsonl",
        row,
    )


def _half_a_run(path: pathlib.Path) -> bool:
    """Whether it is a folder without a network; `Workdir.existing` reports what a run lacks."""
    return path.is_dir() and not (path / "model.json").is_file()
