"""A trained network with all that predicting takes: its variables, its classes, its protocol."""

import dataclasses
import functools
import os
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax.traverse_util import flatten_dict

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import default_config, load_config
from jaxseg.data import DataInfo, read_image
from jaxseg.data.voc_folder import voc_palette
from jaxseg.errors import InputError
from jaxseg.models import model_from_config
from jaxseg.pretrained.folder import load_exported, read_exported


@dataclasses.dataclass(frozen=True)
class Network:
    """What `open_run` and `open_exported` give.

    `network.predict("street.jpg")` labels a photograph as the run's evaluation would.

    Attributes:
      model: the network.
      variables: parameters and statistics.
      info: names and colours of its classes.
      eval: how it is asked for an image's classes, as a run's `config.eval`.
      origin: where the variables are from, as JSON can hold it: "network" (its name), "folder", and
        of a run "step".
    """

    model: nn.Module
    variables: dict[str, Any]
    info: DataInfo
    eval: ml_collections.ConfigDict
    origin: dict[str, Any]

    def predict(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """The class of each pixel, uint8 [H, W], by the protocol of `eval`.

        Args:
          image: uint8 [H, W, 3] RGB, or the path of a file that holds a photograph; its EXIF
            orientation is respected.

        Raises:
          InputError: the file holds no photograph, or the network cannot take one of its size.
        """
        if isinstance(image, str | os.PathLike):
            image = read_image(pathlib.Path(image), upright=True)
        return self._inference.labels(self.variables, image)

    @functools.cached_property
    def _inference(self):
        from jaxseg.inference.protocols import protocol  # which opens networks itself

        return protocol(self.model, self.eval)


def load_run(
    workdir: str | os.PathLike, step: str | int = "last"
) -> tuple[nn.Module, dict[str, Any]]:
    """A run's network and its variables, for one's own code. The run's data set is not needed.

    Args:
      workdir: what `python -m jaxseg train` left.
      step: "last", "best" (by mean IoU) or a step's number.

    Returns:
      The network, and what its `apply` takes.

    Raises:
      InputError: no run, no such checkpoint, or one of another network than the config describes.
    """
    network = open_run(workdir, step)
    return network.model, network.variables


def open_run(workdir: str | os.PathLike, step: str | int = "last") -> Network:
    """A run's network, with its classes and the protocol that it is evaluated by.

    Raises:
      InputError: as `load_run`.
    """
    from jaxseg.checkpoint.manager import check_fits, restore_variables  # loads Orbax: a second
    from jaxseg.pretrained.run import class_info, scored_classes

    run = Workdir.existing(pathlib.Path(workdir))
    config, info = load_config(run.config), class_info(run)
    step = _find(run, step)
    tree = restore_variables(run.checkpoints, step)
    info = info or _unnamed(scored_classes(flatten_dict(tree, sep="/")))
    model = model_from_config(config.model, info.num_classes)
    size = config.eval.input_size or config.augment.crop or config.augment.resize or (224, 224)
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    check_fits(run.checkpoints, step, jax.eval_shape(model.init, jax.random.key(0), image))
    return Network(
        model,
        jax.tree.map(jnp.asarray, tree),
        info,
        config.eval,
        {"network": config.model.name, "folder": str(run.path.absolute()), "step": step},
    )


def open_exported(folder: str | os.PathLike) -> Network:
    """The network in a folder that `python -m jaxseg convert` wrote.

    Its photographs keep their size; its classes have VOC's colours.

    Raises:
      InputError: as `jaxseg.pretrained.load_exported`.
    """
    file = read_exported(folder)
    model, variables = load_exported(folder)
    info = _unnamed(model.num_classes)
    if file.class_names is not None:
        info = dataclasses.replace(info, class_names=file.class_names)
    return Network(
        model,
        variables,
        info,
        default_config().eval,
        {"network": file.name, "folder": str(pathlib.Path(folder).absolute())},
    )


def _find(run: Workdir, step: str | int) -> int:
    from jaxseg.checkpoint.manager import Checkpoints, whole_steps

    if not whole_steps(run.checkpoints):  # looked at first, for `Checkpoints` would make the folder
        raise InputError(
            f"{run.checkpoints} holds no checkpoint.", "Train first, or give another workdir."
        )
    checkpoints = Checkpoints(run.checkpoints)
    try:
        return checkpoints.find(step)
    finally:
        checkpoints.close()


def _unnamed(classes: int) -> DataInfo:
    names = tuple(f"class {i}" for i in range(classes))
    return DataInfo("unnamed classes", names, voc_palette(classes))
