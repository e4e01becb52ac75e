"""The learning-rate range test: a short training whose rate grows until the loss does."""

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

_SMOOTH = 0.9  # share of the moving mean that stays
_WORSE = 2.0  # times the lowest smoothed loss: the test ends


class RateRange(NamedTuple):
    """What a range test found.

    Attributes:
      rates: the learning rate of each step, rising.
      losses: the loss before each step.
      smoothed: their moving mean.
      suggestion: a tenth of the rate at which the smoothed loss was lowest; None where it never
        fell.
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
    """Trains with rates from `low` to `high`, each step the same factor more (Smith 2017).

    It ends early where the loss grows to twice its lowest value, or is not finite. Nothing is
    written.

    Args:
      config: of a run; its schedule, warm-up and number of steps do not matter.
      low, high: the first and the last rate.
      steps: how many steps are taken.
      say: receives a line every ten steps.

    Raises:
      InputError: no range, too few steps, or something about the config or its data is wrong.
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
