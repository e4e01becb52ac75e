"""A trace of some steps for XProf or TensorBoard: `config.log.profile`."""

import pathlib
from collections.abc import Callable

import jax

from jaxseg.config.ranges import first_and_last


class Profile:
    """Traces the steps in `config.log.profile`, once per run.

    Args:
      steps: "N..M", the first and the last traced step; None: no trace.
      folder: output folder of the trace.
      say: receives a line with the folder and the command that opens the trace.
    """

    def __init__(self, steps: str | None, folder: pathlib.Path, say: Callable[[str], None]):
        self._first, self._last = first_and_last(steps or "") or (0, 0)
        self._folder, self._say = folder, say
        self._running = False

    def before(self, step: int) -> None:
        """Called before each step."""
        if step == self._first:
            self._folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, result) -> None:
        """Called after each step; the trace ends when the last step's `result` is computed."""
        if self._running and step >= self._last:
            jax.block_until_ready(result)
            self.close()
            self._say(
                f"profile of steps {self._first} to {self._last}: {self._folder} (to open it: "
                f"`pip install xprof`, then `xprof --logdir {self._folder}`)"
            )

    def close(self) -> None:
        """Ends a running trace if the run ends early."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
