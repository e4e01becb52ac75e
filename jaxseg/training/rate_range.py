"""The learning-rate range test: a short training with a growing rate until the loss grows."""

import math
from collections.abc import Callable
from typing import NamedTuple

import ml_collections
import numpy as np

from jaxseg.config import validate
from jaxseg.config.files import absolute_paths
from jaxseg.data import open_data
from jaxseg.errors import InputError
from jaxseg.pretrained.init import starting_variables
from jaxseg.training.setup import Program

_SMOOTH = 0.9  # weight of the old value in the moving mean
_WORSE = 2.0  # the test ends at this multiple of the lowest smoothed loss


class RateRange(NamedTuple):
    """The result of a range test.

    Attributes:
      rates: the learning rate of each step, increasing.
      losses: the loss before each step.
      smoothed: the moving mean of the losses.
      suggestion: a tenth of the rate with the lowest smoothed loss; None if the loss never fell.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None


def rate_range(
    config: ml_collections.ConfigDict,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    say: Callable[[str], object] = print,
) -> RateRange:
    """Trains with rates from `low` to `high`, multiplied by a constant per step (Smith 2017).

    It ends early if the loss reaches twice its lowest value, or is not finite. It writes no files.

    Args:
      config: config of a run; its schedule, warm-up and number of steps are ignored.
      low, high: the first and the last rate.
      steps: number of steps.
      say: receives a line every ten steps.

    Raises:
      InputError: an invalid range, too few steps, or an error in the config or the data.
    """
    if not 0 < low < high or steps < 10:
        raise InputError(
            f"The rates {low:g} to {high:g} in {steps} steps are not a valid range.",
            "Give 0 < low < high and at least 10 steps.",
        )
    validate(config)
    config = absolute_paths(config)
    config.train.steps, config.train.epochs, config.optim.warmup_steps = steps, None, 0
    source = open_data(config.data, "train", config.seed)

    def schedule(step):
        return low * (high / low) ** (step / (steps - 1))

    program = Program(config, source, schedule)
    if config.init.pretrained:
        variables, _ = starting_variables(program.model, config.init, config.seed, program.size)
        state = program.state_from(variables)
    else:
        state = program.initial_state()
    found = RateRange([], [], [], None)
    mean = 0.0
    batches = program.batches()
    try:
        for step in range(steps):
            state, metrics = program.step(state, *next(batches))
            loss = float(metrics["loss"])
            if not math.isfinite(loss):
                break
            mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
            found.rates.append(float(schedule(step)))
            found.losses.append(loss)
            found.smoothed.append(mean / (1 - _SMOOTH ** (step + 1)))
            if (step + 1) % 10 == 0:
                say(f"step {step + 1} of {steps}: rate {found.rates[-1]:.2g}, loss {loss:.4g}")
            if step >= 10 and found.smoothed[-1] > _WORSE * min(found.smoothed):
                break
    finally:
        batches.close()
    return found._replace(suggestion=_suggested(found))


def _suggested(found: RateRange) -> float | None:
    if not found.smoothed:
        return None
    lowest = int(np.argmin(found.smoothed))
    if lowest == 0:
        return None
    return float(f"{found.rates[lowest] / 10:.2g}")
