"""A trace of some steps, to be looked at in XProf or TensorBoard: `config.log.profile`."""

import pathlib
from collections.abc import Callable

import jax

from jaxseg.config.ranges import first_and_last


class Profile:
    """Traces the steps that `config.log.profile` names, once a run.

    Args:
      steps: "N..M", the first and the last step that is traced; None: none is.
      folder: where the trace goes.
      say: gets a line on where it is and how to open it.
    """

    def __init__(self, steps: str | None, folder: pathlib.Path, say: Callable[[str], None]):
        self._first, self._last = first_and_last(steps or "") or (0, 0)
        self._folder, self._say = folder, say
        self._running = False

    def before(self, step: int) -> None:
        """To be called before each step."""
        if step == self._first:
            self._folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, result) -> None:
        """To be called after each step, with what it gave: the trace ends when that is computed."""
        if self._running and step >= self._last:
            jax.block_until_ready(result)
            self.close()
            self._say(
                f"profile of steps {self._first} to {self._last}: {self._folder} (to open it: "
                f"`pip install xprof`, then `xprof --logdir {self._folder}`)"
            )

    def close(self) -> None:
        """Ends a trace that is running, where the run ends before it."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
