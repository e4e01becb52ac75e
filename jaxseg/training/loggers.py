"""Loggers of a run's curves and pictures: TensorBoard, and Weights & Biases if asked for."""

import importlib.util
import pathlib
import uuid
from typing import Protocol

import ml_collections
import numpy as np

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import flatten
from jaxseg.errors import InputError


class Logger(Protocol):
    """Receives a run's numbers and pictures."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Adds a point to each curve."""

    def picture(self, step: int, image: np.ndarray) -> None:
        """Adds a picture, uint8 [H, W, 3]."""

    def close(self) -> None:
        """Writes all that is pending."""


class TensorBoard:
    """Event files in a workdir's `tensorboard/`.

    Args:
      workdir: of the run.
      step: steps taken so far; later points of an earlier part of the run are hidden.
    """

    def __init__(self, workdir: Workdir, step: int):
        import tensorboardX  # takes a second where PyTorch is installed, which it imports

        folder = str(workdir.path / "tensorboard")
        self._writer = tensorboardX.SummaryWriter(folder, purge_step=step + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, image: np.ndarray) -> None:
        self._writer.add_image("predictions", image, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run at Weights & Biases, by its own package (the extra `wandb`).

    The package's environment variables hold: WANDB_MODE=offline keeps everything in the workdir. A
    run that goes on there goes on here, by the id in `wandb_id.txt`; of steps that are taken again
    its server keeps the first values.

    Args:
      workdir: of the run.
      step: steps taken so far.
      project: which project the run is shown in.
      config: of the run, shown beside it.

    Raises:
      InputError: it cannot start, for want of a login, say.
    """

    def __init__(
        self, workdir: Workdir, step: int, project: str, config: ml_collections.ConfigDict
    ):
        import wandb

        self._wandb = wandb
        try:
            self._run = wandb.init(
                project=project,
                name=workdir.path.name,
                dir=str(workdir.path),
                id=_id_of_run(workdir.path / "wandb_id.txt", new=step == 0),
                resume="allow",
                config=flatten(config),
            )
        except wandb.Error as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise InputError(
                f"Weights & Biases could not start: {reason}.",
                "Log in with `wandb login`, set WANDB_MODE=offline, or leave config.log.wandb at "
                "None.",
            ) from None

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def picture(self, step: int, image: np.ndarray) -> None:
        self._run.log({"predictions": self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        self._run.finish()


def check_loggers(log: ml_collections.ConfigDict) -> None:
    """Checks that the packages that a run's `config.log` asks for are installed.

    Raises:
      InputError: one is not.
    """
    if log.wandb is not None and importlib.util.find_spec("wandb") is None:
        raise InputError(
            f"Config field log.wandb is {log.wandb!r}, but the package wandb is not installed.",
            "Install it with `pip install 'jaxseg[wandb]'`, or leave log.wandb at None.",
        )


def _id_of_run(path: pathlib.Path, new: bool) -> str:
    if new or not path.exists():
        path.write_text(uuid.uuid4().hex[:8] + "\n")
    return path.read_text().strip()
