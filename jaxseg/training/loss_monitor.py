"""Monitors a run's loss: stops at NaN, and hints if the network does not learn."""

from collections.abc import Callable, Sequence

from jaxseg.checkpoint.manager import Checkpoints
from jaxseg.errors import InputError
from jaxseg.training.step import TrainState

_SHOWN = 8  # maximum number of image names in a message
_PATIENCE = 100  # steps that a loss may stay at its start
_NEAR = 0.01  # relative distance that counts as "at its start"


class LossMonitor:
    """Checks a run's loss whenever the loss is logged.

    Args:
      checkpoints: checkpoints of the run.
      say: prints a line.

    Attributes:
      names: image names of each step that is not checked yet (those of this process).
    """

    def __init__(self, checkpoints: Checkpoints, say: Callable[[str], None]):
        self.names: dict[int, Sequence[str]] = {}
        self._checkpoints, self._say = checkpoints, say
        self._since: int | None = None  # first step of those with the loss of random guessing
        self._hinted = False

    def stop_if_not_finite(self, state: TrainState) -> None:
        """Raises InputError if the loss or gradient of a step was not finite.

        A run checks before it saves, so every saved state is from before that step.
        """
        bad = int(state.first_bad_step)
        if bad < 0:
            step = int(state.step)
            for seen in [s for s in self.names if s <= step]:
                del self.names[seen]
            return
        self._checkpoints.wait()
        kept = self._checkpoints.latest()
        raise InputError(
            f"The loss or its gradient became NaN or infinite at step {bad}, with the images "
            f"{_listed(self.names.get(bad, ()))}.",
            "Lower config.optim.lr, warm up for longer or set config.optim.clip_norm; "
            + (
                f"the checkpoint of step {kept} is intact. A changed config needs a new workdir."
                if kept
                else "no checkpoint was saved before this step."
            ),
        )

    def hint_if_guessing(self, step: int, loss: float, guessing: float) -> None:
        """Prints a hint, once, if the loss has stayed at that of random guessing.

        Args:
          step: step of the loss.
          loss: loss of the step.
          guessing: loss for equal probabilities, ln C per pixel; NaN: unknown.
        """
        if not abs(loss - guessing) < _NEAR * guessing:
            self._since = None
            return
        self._since = step if self._since is None else self._since
        if step - self._since >= _PATIENCE and not self._hinted:
            self._hinted = True
            self._say(
                f"hint: since step {self._since} the loss has been {guessing:.4g}, the loss of "
                "random guessing (ln C), so the network has not started to learn. Check that its "
                "weights were loaded (config.init.pretrained). If they were, or if it needs "
                "none, increase config.optim.lr."
            )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
