"""A run's network as training left it, with the pictures it is scored on."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import ml_collections

from jaxseg.checkpoint.manager import Checkpoints, check_fits, restore_variables
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import load_config, set_field, validate
from jaxseg.data import Source, open_data
from jaxseg.distributed.mesh import make_mesh, to_every_device
from jaxseg.models import model_from_config
from jaxseg.training.optimizers import make_optimizer
from jaxseg.training.step import create_state


@dataclasses.dataclass(frozen=True)
class Trained:
    """What `load_trained` gives.

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


def load_trained(
    workdir: str | pathlib.Path, step: str | int = "last", fields: Mapping[str, Any] | None = None
) -> Trained:
    """Opens what `train` left.

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
    for name, value in (fields or {}).items():
        set_field(config, name, value)
    validate(config)
    source = open_data(config.data, "eval", config.seed)
    checkpoints = Checkpoints(
        folder.checkpoints, config.checkpoint.keep_last, config.checkpoint.keep_best
    )
    step = checkpoints.find(step)
    model = model_from_config(config.model, source.info.num_classes)
    optimizer = make_optimizer(config.optim, config.train.steps)
    size = config.eval.input_size or source.size(0)
    like = jax.eval_shape(lambda: create_state(model, optimizer, config.seed, size))
    check_fits(folder.checkpoints, step, like.variables)
    checkpoints.close()
    variables = to_every_device(
        make_mesh(jax.device_count()), restore_variables(folder.checkpoints, step)
    )
    return Trained(config, source, model, variables, step)
