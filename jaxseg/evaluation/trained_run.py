"""A run's network as training left it, with the images it is scored on."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import ml_collections
from flax.traverse_util import unflatten_dict

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import load_config, score_otherwise
from jaxseg.data import Source, check_same_classes, open_data
from jaxseg.distributed.devices import device_count
from jaxseg.distributed.mesh import make_mesh, to_every_device
from jaxseg.models import model_from_config
from jaxseg.pretrained.run import check_classes, read_run


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished or stopped run with one of its checkpoints.

    Attributes:
      config: the run's config.
      source: its evaluation split.
      model: its network.
      variables: parameters and statistics of the checkpoint, on every device: their moving average,
        where the run kept one.
      step: of the checkpoint.
    """

    config: ml_collections.ConfigDict
    source: Source
    model: nn.Module
    variables: dict[str, Any]
    step: int


def open_run(
    workdir: str | pathlib.Path, step: str | int = "last", fields: Mapping[str, Any] | None = None
) -> TrainedRun:
    """Opens a run to score it.

    Args:
      workdir: of the run.
      step: "last", "best" or a step's number.
      fields: config fields that are to differ from the run's, by dotted name.

    Raises:
      InputError: no run, no such field, no such checkpoint or one of another network, or the data
        set is missing, damaged or of other classes.
    """
    folder = Workdir.existing(workdir)
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
        model_from_config(config.model, source.info.num_classes),
        to_every_device(make_mesh(device_count()), variables),
        file.step or 0,
    )
