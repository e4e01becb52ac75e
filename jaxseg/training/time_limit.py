"""Ends a run in time: `config.train.max_minutes`."""

import math
import time

import jax
import ml_collections

from jaxseg.data import Source
from jaxseg.distributed.mesh import gather
from jaxseg.distributed.multihost import agree
from jaxseg.errors import InputError
from jaxseg.evaluation.evaluator import Evaluator
from jaxseg.training.setup import Program

_TRIED_SECONDS = 10.0  # of steps, to measure the time of one
_SHARE = 0.93  # planned share of the time, because a machine's speed varies


def steps_in_time(
    config: ml_collections.ConfigDict, source: Source, eval_source: Source, begun: float
) -> int:
    """The number of steps that fit within `train.max_minutes`, at most `train.steps`.

    A few steps and a few evaluation images are timed; the resulting weights are discarded.

    Args:
      config: config of a run, with numbers for fields that depend on the data.
      source: the training split.
      eval_source: the evaluation split.
      begun: `time.monotonic()` at the start of the run; the time since then counts.

    Raises:
      InputError: not a single step fits, or the warm-up is longer than the steps that fit.
    """
    minutes, limit = config.train.max_minutes, config.train.max_minutes * 60
    program = Program(config, source)
    started = time.monotonic()
    batches = program.batches()
    try:
        state = program.initial_state()
        images, labels = next(batches)
        program.compile(images, labels)
        state, metrics = jax.block_until_ready(program.take_step(state, images, labels))
        compiled = time.monotonic() - started  # the run compiles its own step again
        first, taken = time.monotonic(), 0
        while taken < 3 or (time.monotonic() - first < _TRIED_SECONDS and taken < 50):
            state, metrics = program.take_step(state, *next(batches))
            jax.block_until_ready(metrics)
            taken += 1
        a_step = (time.monotonic() - first) / taken
    finally:
        batches.close()
    an_evaluation = _evaluation_seconds(program, eval_source, config, state)
    left = limit * _SHARE - (time.monotonic() - begun) - compiled
    every = config.eval.every_steps
    planned = left - an_evaluation  # the final one
    steps = int(planned / (a_step + (an_evaluation / every if every else 0.0)))
    steps = agree(min(steps, config.train.steps))
    if steps <= config.optim.warmup_steps:
        raise InputError(
            f"train.max_minutes = {minutes:g} allows only {max(steps, 0)} steps: a step takes "
            f"{a_step:.3g} s, compiling {compiled:.0f} s, an evaluation {an_evaluation:.0f} s, "
            f"and the warm-up has {config.optim.warmup_steps} steps.",
            "Increase train.max_minutes, lower optim.warmup_steps, evaluate less often, or use "
            "smaller images or a smaller network.",
        )
    return steps


def _evaluation_seconds(
    program: Program, source: Source, config: ml_collections.ConfigDict, state
) -> float:
    """The approximate time to evaluate all evaluation images, without compilation."""
    evaluator = Evaluator.of_run(program.model, source, config)
    variables = gather(program.mesh, state.variables)
    evaluator.labels(variables, source[0])
    begun = time.monotonic()
    few = min(len(source), 3)
    for index in range(few):
        evaluator.labels(variables, source[index])
    return (time.monotonic() - begun) / few * len(source)


class TimeLimit:
    """Whether a run must end now to finish its evaluation within `train.max_minutes`.

    Args:
      minutes: limit for this start of the run; None: no limit.
      begun: `time.monotonic()` at its start.
      every: number of steps between agreements of the processes.
    """

    def __init__(self, minutes: float | None, begun: float, every: int):
        self._end = math.inf if minutes is None else begun + minutes * 60
        self._every = every
        self._evaluation = 0.0

    def evaluated(self, seconds: float) -> None:
        """Records the duration of an evaluation, as an estimate for the final one."""
        self._evaluation = seconds

    def passed(self, step: int) -> bool:
        """Whether the time has passed; all processes call it after every step."""
        if math.isinf(self._end) or (jax.process_count() > 1 and step % self._every):
            return False
        return bool(agree(int(time.monotonic() + self._evaluation >= self._end)))
