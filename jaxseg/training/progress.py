"""Reports a run's progress: a bar, a JSON line per logged step, and the loggers."""

import json
import pathlib
import sys
import time
from collections.abc import Sequence

import jax
import numpy as np
import tqdm

from jaxseg.checkpoint.metrics_log import left_out, log_lines
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.training.loggers import Logger
from jaxseg.utils.atomic import atomic_file
from jaxseg.utils.usage import peak_process_memory


class Progress:
    """The log of one run; does nothing on processes other than the first.

    On a terminal it shows a bar; elsewhere it prints a line per logged step.

    Args:
      workdir: the workdir. Log lines of steps after `step` are removed.
      step: number of steps taken so far.
      steps: total steps of the run.
      batch_size: images per step.
      loggers: receive curves and images; `close` closes them.
      enabled: whether this process logs.
    """

    def __init__(
        self,
        workdir: Workdir,
        step: int,
        steps: int,
        batch_size: int,
        loggers: Sequence[Logger] = (),
        enabled: bool = True,
    ):
        self._boards = loggers
        self._enabled = enabled
        self._batch_size = batch_size
        self._step, self._time = step, time.perf_counter()
        self._waited = self._paused = 0.0
        if enabled:
            strange = _forget_after(workdir.log, step)
            if strange:
                self.say(left_out(workdir.log, strange))
            self._log = workdir.log.open("a")
            self._bar = tqdm.tqdm(
                total=steps,
                initial=step,
                unit="step",
                disable=None,
                dynamic_ncols=True,
                smoothing=0.1,
            )

    def say(self, text: str) -> None:
        """Prints a line, above the bar if there is one."""
        if self._enabled and sys.stdout is not None:  # None: a process without a console
            tqdm.tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def compiling(self) -> None:
        """Announces the compilation of the first step, which is slow and prints nothing itself."""
        self.say("compiling (usually 10 to 60 s; cached for the next run of the same program)")

    def advance(self) -> None:
        """Counts one more started step."""
        if self._enabled:
            self._bar.update()

    def waited(self, seconds: float) -> None:
        """Adds the time that the step waited for data."""
        self._waited += seconds

    def paused(self, seconds: float) -> None:
        """Adds time spent on evaluation or saving, which does not count as training time."""
        self._paused += seconds

    def training(self, step: int, loss: float, learning_rate: float, gradient_norm: float) -> None:
        """Logs a step, with the speed since the last logged step."""
        if not self._enabled:
            return
        now = time.perf_counter()
        seconds = max(now - self._time - self._paused, 1e-9)
        entry = {
            "step": step,
            "loss": loss,
            "learning_rate": learning_rate,
            "gradient_norm": gradient_norm,
            "images_per_second": (step - self._step) * self._batch_size / seconds,
            "data_wait_share": min(self._waited / seconds, 1.0),
        }
        memory = peak_memory()
        if memory is not None:
            entry["memory_gib"] = memory / 2**30
        self._step, self._time = step, now
        self._waited = self._paused = 0.0
        self._write("train", entry)
        self._bar.set_postfix_str(
            f"loss {loss:.4f}, lr {learning_rate:.2g}, {entry['images_per_second']:.1f} images/s, "
            f"data wait {entry['data_wait_share']:.0%}"
            + ("" if memory is None else f", {memory / 2**30:.1f} GiB"),
            refresh=False,
        )
        if self._bar.disable:  # not a terminal: a file, a notebook's log, a job's output
            seconds_left = (self._bar.total - step) * self._batch_size / entry["images_per_second"]
            left = tqdm.tqdm.format_interval(seconds_left)
            self.say(
                f"step {step} of {self._bar.total}: loss {loss:.4f}, "
                f"{entry['images_per_second']:.1f} images/s, {left} left"
            )

    def evaluation(self, step: int, scores: dict) -> None:
        """Logs metrics, and prints the two most important ones."""
        if not self._enabled:
            return
        numbers = {k: v for k, v in scores.items() if isinstance(v, float)}
        self._write("eval", {"step": step} | numbers)
        self.say(
            f"step {step}: mean IoU {scores['mean_iou']:.4f}, "
            f"pixel accuracy {scores['pixel_accuracy']:.4f}"
        )

    def picture(self, step: int, image: np.ndarray) -> None:
        """Passes an image, uint8 [H, W, 3], to the loggers."""
        for logger in self._boards if self._enabled else ():
            logger.picture(step, image)

    def flush(self) -> None:
        """Writes pending data; before a checkpoint, whose steps are not logged again."""
        for logger in self._boards if self._enabled else ():
            logger.flush()

    def close(self) -> None:
        """Closes the bar, the files and the loggers."""
        if self._enabled:
            self._bar.close()
            self._log.close()
            for logger in self._boards:
                logger.close()

    def _write(self, kind: str, entry: dict) -> None:
        self._log.write(json.dumps({"kind": kind} | entry) + "\n")
        self._log.flush()
        values = {f"{kind}/{key}": value for key, value in entry.items() if key != "step"}
        for logger in self._boards:
            logger.scalars(entry["step"], values)


def peak_memory() -> int | None:
    """The peak memory of the first device in bytes; on a CPU, that of this process.

    None if it is unknown.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use", peak_process_memory())


def _forget_after(log: pathlib.Path, step: int) -> int:
    """Removes damaged lines, such as a killed run may leave, and the lines of steps after `step`,
    which the run will write again. Returns the number of damaged lines."""
    if not log.exists():
        return 0
    kept, strange = [], 0
    for line, entry in log_lines(log):
        if entry is None or not line.endswith(b"\n"):
            strange += 1
        elif entry["step"] <= step:
            kept.append(line)
    with atomic_file(log) as file:
        file.write(b"".join(kept))
    return strange
