"""Loggers of a run's curves and pictures: TensorBoard, and Weights & Biases if asked for."""

import importlib.util
import pathlib
import time
import uuid
from typing import Protocol

import ml_collections
import numpy as np

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import flatten
from jaxseg.errors import InputError
from jaxseg.utils.atomic import write_atomic


class Logger(Protocol):
    """Receives a run's numbers and pictures."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Adds a point to each curve."""

    def picture(self, step: int, image: np.ndarray) -> None:
        """Adds a picture, uint8 [H, W, 3]."""

    def flush(self) -> None:
        """Writes all that is pending, where that is a file of the run."""

    def close(self) -> None:
        """Writes all that is pending, and ends."""


class TensorBoard:
    """Event files in a workdir's `tensorboard/`.

    Args:
      workdir: of the run.
      step: steps taken so far; later points of an earlier part of the run are hidden.
    """

    def __init__(self, workdir: Workdir, step: int):
        # tensorboardX takes a second where PyTorch is installed, which it imports. Its own writer
        # hands events to a thread, which a kill may overtake: here they are written at once.
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        folder = workdir.path / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        self._kinds, self._summary = event_pb2, summary
        self._events = EventsWriter(str(folder / "events"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # hides the later ones
        self._write(step + 1, file_version="brain.Event:2")
        self._write(step + 1, session_log=start)
        self.flush()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._write(step, summary=self._summary.scalar(name, value))

    def picture(self, step: int, image: np.ndarray) -> None:
        shown = self._summary.image("predictions", image, dataformats="HWC")
        self._write(step, summary=shown)

    def flush(self) -> None:
        self._events.flush()

    def close(self) -> None:
        self._events.close()

    def _write(self, step: int, **what) -> None:
        event = self._kinds.Event(step=step, wall_time=time.time(), **what)
        self._events.write_event(event)


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
                "Log in with `wandb login`, set WANDB_MODE=offline, or set config.log.wandb to "
                "None.",
            ) from None

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def picture(self, step: int, image: np.ndarray) -> None:
        self._run.log({"predictions": self._wandb.Image(image)}, step=step)

    def flush(self) -> None:
        """Its own process writes."""

    def close(self) -> None:
        self._run.finish()


def open_loggers(workdir: Workdir, step: int, config: ml_collections.ConfigDict) -> list[Logger]:
    """The loggers that a run's `config.log` asks for, and TensorBoard.

    Args:
      workdir: of the run.
      step: steps taken so far.
      config: of the run.

    Raises:
      InputError: one of them cannot start.
    """
    loggers: list[Logger] = []
    if config.log.wandb is not None:
        loggers.append(WeightsAndBiases(workdir, step, config.log.wandb, config))
    return [*loggers, TensorBoard(workdir, step)]


def check_loggers(log: ml_collections.ConfigDict) -> None:
    """Checks that the packages that a run's `config.log` asks for are installed.

    Raises:
      InputError: one is not.
    """
    if log.wandb is not None and importlib.util.find_spec("wandb") is None:
        raise InputError(
            f"Config field log.wandb is {log.wandb!r}, but the package wandb is not installed.",
            "Install it with `pip install 'jaxseg[wandb]'`, or set log.wandb to None.",
        )


def _id_of_run(path: pathlib.Path, new: bool) -> str:
    if new or not path.exists():
        write_atomic(path, uuid.uuid4().hex[:8] + "\n")
    return path.read_text().strip()
