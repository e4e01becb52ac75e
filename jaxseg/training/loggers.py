"""Loggers of a run's curves and images: TensorBoard, and others on request."""

import importlib.util
import pathlib
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import ml_collections
import numpy as np
import tqdm

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import flatten
from jaxseg.errors import InputError
from jaxseg.utils.atomic import write_atomic


class Logger(Protocol):
    """Receives a run's numbers and images."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Adds a point to each curve."""

    def picture(self, step: int, image: np.ndarray) -> None:
        """Adds an image, uint8 [H, W, 3]."""

    def flush(self) -> None:
        """Writes pending data, for loggers that write files of the run."""

    def close(self) -> None:
        """Writes pending data and closes the logger."""


class TensorBoard:
    """Event files in a workdir's `tensorboard/`.

    Args:
      workdir: workdir of the run.
      step: number of steps taken so far; points of later steps are hidden.
    """

    def __init__(self, workdir: Workdir, step: int):
        # tensorboardX imports PyTorch if installed, which takes a second. Its own writer passes
        # events to a thread, and a kill could lose them: here they are written immediately.
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        folder = workdir.path / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        self._kinds, self._summary = event_pb2, summary
        self._events = EventsWriter(str(folder / "events"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # hides later points
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


class Forgiven:
    """A logger whose errors do not end the run: the first is printed, then no more data is sent.

    Args:
      name: name of the logger, for the message.
      logger: a logger that may fail, because it depends on a server or another program.
    """

    def __init__(self, name: str, logger: Logger):
        self._name, self._logger, self._lost = name, logger, False

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._give(self._logger.scalars, step, values)

    def picture(self, step: int, image: np.ndarray) -> None:
        self._give(self._logger.picture, step, image)

    def flush(self) -> None:
        self._give(self._logger.flush)

    def close(self) -> None:
        self._give(self._logger.close)

    def _give(self, take: Callable[..., None], *values: Any) -> None:
        if self._lost:
            return
        try:
            take(*values)
        except Exception as error:  # each package has its own exceptions
            self._lost = True
            text = f"{self._name} gets nothing more of this run: {_reason(error)}"
            tqdm.tqdm.write(text, file=sys.stderr)


class _RunOfPackage:
    """A run of Weights & Biases, or of a package with the same functions.

    Args:
      package: the imported module.
      run: return value of its `init`.
    """

    def __init__(self, package: Any, run: Any):
        self._package, self._run = package, run

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def picture(self, step: int, image: np.ndarray) -> None:
        self._run.log({"predictions": self._package.Image(image)}, step=step)

    def flush(self) -> None:
        """Does nothing: the package writes in its own process or thread."""

    def close(self) -> None:
        self._run.finish()


class WeightsAndBiases(_RunOfPackage):
    """A run in Weights & Biases, by its own package (the extra `wandb`).

    The package's environment variables apply: WANDB_MODE=offline keeps all data in the workdir. A
    resumed run continues its run there, by the id in `wandb_id.txt`. For repeated steps, the server
    keeps the first values.

    Args:
      workdir: workdir of the run.
      step: number of steps taken so far.
      project: the project that shows the run.
      config: config of the run, shown with it.

    Raises:
      InputError: it cannot start, for example without a login.
    """

    def __init__(
        self, workdir: Workdir, step: int, project: str, config: ml_collections.ConfigDict
    ):
        remedy = "Log in with `wandb login`, set WANDB_MODE=offline, or"
        with _starting("Weights & Biases", remedy, "wandb"):
            import wandb

            run = wandb.init(
                project=project,
                name=workdir.path.name,
                dir=str(workdir.path),
                id=_id_of_run(workdir.path / "wandb_id.txt", new=step == 0),
                resume="allow",
                config=flatten(config),
            )
        super().__init__(wandb, run)


class MLflow:
    """A run in MLflow, by its own package (the extra `mlflow`).

    MLFLOW_TRACKING_URI names the server; without it, MLflow stores its database in the current
    folder. A resumed run continues its run there, by the id in `mlflow_id.txt`.

    Args:
      workdir: workdir of the run.
      step: number of steps taken so far.
      experiment: the experiment that shows the run.
      config: config of the run, shown with it.

    Raises:
      InputError: it cannot start, for example because the server does not respond.
    """

    def __init__(
        self, workdir: Workdir, step: int, experiment: str, config: ml_collections.ConfigDict
    ):
        path = workdir.path / "mlflow_id.txt"
        again = path.read_text().strip() if step and path.exists() else None
        with _starting("MLflow", "Set MLFLOW_TRACKING_URI to a running server, or", "mlflow"):
            import mlflow

            mlflow.set_experiment(experiment)
            run = mlflow.start_run(run_id=again, run_name=workdir.path.name)
            if again is None:
                mlflow.log_params(flatten(config))
        self._mlflow = mlflow
        write_atomic(path, run.info.run_id + "\n")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._mlflow.log_metrics(values, step=step)

    def picture(self, step: int, image: np.ndarray) -> None:
        self._mlflow.log_image(image, key="predictions", step=step)

    def flush(self) -> None:
        """Does nothing: MLflow writes immediately."""

    def close(self) -> None:
        self._mlflow.end_run()


class Trackio(_RunOfPackage):
    """A run in Trackio, by its own package (the extra `trackio`).

    The package's environment variables apply: TRACKIO_DIR and TRACKIO_SPACE_ID. A resumed run
    continues its run there, by the id in `trackio_id.txt`, which is part of its name.

    Args:
      workdir: workdir of the run.
      step: number of steps taken so far.
      project: the project that shows the run.
      config: config of the run, shown with it.

    Raises:
      InputError: it cannot start.
    """

    def __init__(
        self, workdir: Workdir, step: int, project: str, config: ml_collections.ConfigDict
    ):
        name = f"{workdir.path.name}-{_id_of_run(workdir.path / 'trackio_id.txt', new=step == 0)}"
        with _starting(
            "Trackio", "Set TRACKIO_DIR to a folder that you can write to, or", "trackio"
        ):
            import trackio

            run = trackio.init(
                project=project, name=name, config=flatten(config), resume="allow", embed=False
            )
        super().__init__(trackio, run)


_OTHERS: dict[str, tuple[str, Callable[..., Logger]]] = {
    "wandb": ("Weights & Biases", WeightsAndBiases),
    "mlflow": ("MLflow", MLflow),
    "trackio": ("Trackio", Trackio),
}
"""By field of `config.log`, which is also the name of the package and of the extra."""


def open_loggers(workdir: Workdir, step: int, config: ml_collections.ConfigDict) -> list[Logger]:
    """Opens the loggers of a run's `config.log`, and TensorBoard.

    If one of the former fails later, training continues; see `Forgiven`.

    Args:
      workdir: workdir of the run.
      step: number of steps taken so far.
      config: config of the run.

    Raises:
      InputError: a logger cannot start.
    """
    loggers: list[Logger] = [
        Forgiven(title, logger(workdir, step, config.log[name], config))
        for name, (title, logger) in _OTHERS.items()
        if config.log[name] is not None
    ]
    # TensorBoard's events are files of the run: if they cannot be written, no file can
    return [*loggers, TensorBoard(workdir, step)]


def check_loggers(log: ml_collections.ConfigDict) -> None:
    """Checks that the packages of the loggers in a run's `config.log` are installed.

    Raises:
      InputError: a package is missing.
    """
    for name in _OTHERS:
        if log[name] is not None and importlib.util.find_spec(name) is None:
            raise InputError(
                f"Config field log.{name} is {log[name]!r}, but the package {name} is not "
                "installed.",
                f"Install it with `pip install 'jaxseg[{name}]'`, or set log.{name} to None.",
            )


@contextmanager
def _starting(title: str, remedy: str, field: str) -> Iterator[None]:
    """Turns any error of a logger's start into an InputError."""
    try:
        yield
    except Exception as error:  # each package has its own exceptions
        raise InputError(
            f"{title} could not start: {_reason(error)}.",
            f"{remedy} set config.log.{field} to None.",
        ) from None


def _reason(error: Exception) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")


def _id_of_run(path: pathlib.Path, new: bool) -> str:
    if new or not path.exists():
        write_atomic(path, uuid.uuid4().hex[:8] + "\n")
    return path.read_text().strip()
