"""The start of a run: opens and checks everything, then creates or restores the state."""

import contextlib
import pathlib
import time
from typing import Any, NamedTuple

import jax
import ml_collections

from jaxseg.checkpoint.lock import WorkdirLock
from jaxseg.checkpoint.manager import Checkpoints, abstract
from jaxseg.checkpoint.steps import COMPARED_FROM, whole_steps
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import load_config, save_config, validate
from jaxseg.config.files import absolute_paths
from jaxseg.data import (
    Source,
    check_position,
    check_same_classes,
    first_look,
    open_data,
    position,
    save_classes,
)
from jaxseg.distributed.devices import devices_in_words
from jaxseg.distributed.multihost import agree, wait_for_others
from jaxseg.errors import InputError
from jaxseg.evaluation.evaluator import Evaluator
from jaxseg.pretrained.init import starting_variables
from jaxseg.training.automatic import resolved, with_revision_of
from jaxseg.training.batch_size import largest_batch
from jaxseg.training.comparable import compared_from, evaluated
from jaxseg.training.environment import record
from jaxseg.training.loggers import check_loggers
from jaxseg.training.setup import Program
from jaxseg.training.step import TrainState
from jaxseg.training.time_limit import steps_in_time
from jaxseg.utils.atomic import write_atomic


class Run(NamedTuple):
    """A started or resumed run.

    Attributes:
      config: the config, with numbers for fields that depend on the data.
      folder: the workdir.
      program: network, devices and step.
      evaluator: evaluator of the evaluation split.
      checkpoints: the checkpoints.
      state: the state after `start` steps.
      start: number of steps taken so far.
      position: data position at `start`, and what metrics depend on; saved with each checkpoint.
      notes: lines for the user about the start.
      time_begun: start time, by `time.monotonic()`.
    """

    config: ml_collections.ConfigDict
    folder: Workdir
    program: Program
    evaluator: Evaluator
    checkpoints: Checkpoints
    state: TrainState
    start: int
    position: dict[str, Any]
    notes: list[str]
    time_begun: float


def begin(
    config: ml_collections.ConfigDict, workdir: str | pathlib.Path, stack: contextlib.ExitStack
) -> Run:
    """Opens a run; writes nothing before all checks have passed.

    Args:
      config: config of the run.
      workdir: existing or new folder of the run.
      stack: receives the workdir's lock and the checkpoints, held until the run ends.

    Raises:
      InputError: an error in the config, the data or the workdir.
    """
    time_begun = time.monotonic()
    # ---- config, data, network
    validate(config)
    config = absolute_paths(config)
    check_loggers(config.log)
    folder = Workdir(workdir, config.checkpoint.folder)
    config = with_revision_of(config, folder.config)
    source = open_data(config.data, "train", config.seed)
    eval_source = open_data(config.data, "eval", config.seed)
    hints = first_look(source, eval_source)
    begun = bool(whole_steps(folder.checkpoints))
    if begun:
        check_same_classes(source.info, folder.classes)
    notes: list[str] = []
    config = _settled(config, source, eval_source, folder if begun else None, time_begun, notes)
    program = Program(config, source)
    config = program.config
    evaluator = Evaluator.of_run(program.model, eval_source, config)

    # ---- the state, new or from the newest checkpoint
    evaluator.check(program.like.variables)
    pretrained, report = None, ""  # weights for a new run, checked before anything is written
    if config.init.pretrained and not begun:
        pretrained, report = starting_variables(
            program.model, config.init, config.seed, program.size
        )
    is_main = jax.process_index() == 0
    if is_main:
        folder.open(config)
        stack.enter_context(WorkdirLock(folder.path))
    wait_for_others("the workdir is open")
    folder.check_shared()
    checkpoints = Checkpoints(
        folder.checkpoints, config.checkpoint.keep_last, config.checkpoint.keep_best, clean=True
    )
    stack.callback(checkpoints.close)
    start, state, back = _restored(program, checkpoints, folder)
    data_position = position(
        source, step=start, seed=config.seed, batch_size=config.train.batch_size
    )
    marks, since, other_scores = evaluated(eval_source, config.eval), 0, None
    if state is not None:
        restored, saved = state
        check_position(saved, data_position)
        since, other_scores = compared_from(saved, marks, start)
        checkpoints.compare_from(since)
    elif pretrained is not None:
        restored = program.state_from(pretrained)
    else:
        restored = program.initial_state()
    if is_main:
        _describe(folder, config, source)
        record(folder.environment, start)
        if pretrained is not None and not start:
            write_atomic(folder.pretrained, report + "\n")
    wait_for_others("the config is written")
    if not folder.config.is_file():  # this machine has its own disk, and `evaluate` needs the file
        _describe(folder, config, source)

    # ---- notes for the user
    notes.insert(0, _headline(config, restored, source, eval_source))
    if jax.config.jax_compilation_cache_dir:
        notes.append(f"compiled programs are cached in {jax.config.jax_compilation_cache_dir}")
    if checkpoints.removed:
        notes.append(f"removed incomplete checkpoint(s): {', '.join(checkpoints.removed)}")
    notes += back
    if start:
        notes.append(f"resuming from step {start} of {config.train.steps}")
        notes += [other_scores] if other_scores else []
    elif pretrained is not None:
        notes.append(report)
    notes += program.notes + hints
    if program.pad_to:
        shapes = program.shapes()
        notes.append(f"batches have at most {shapes} shape(s), each compiled once")
    return Run(
        config,
        folder,
        program,
        evaluator,
        checkpoints,
        restored,
        start,
        data_position | marks | {COMPARED_FROM: since},
        notes,
        time_begun,
    )


def _settled(
    config: ml_collections.ConfigDict,
    source: Source,
    eval_source: Source,
    begun: Workdir | None,
    time_begun: float,
    notes: list[str],
) -> ml_collections.ConfigDict:
    """The config with numbers for machine-dependent fields; a resumed run keeps its own."""
    if config.train.batch_size and config.train.max_minutes is None:
        return config
    config = config.copy_and_resolve_references()
    before = load_config(begun.config).train if begun is not None else None
    if not config.train.batch_size:
        found = before.batch_size if before else agree(largest_batch(config, source, say=print))
        notes.append(f"train.batch_size: {found}, the largest that fits in memory")
        config.train.batch_size = found
    if config.train.max_minutes is not None:
        config = resolved(config, source, notes.append)
        if before is None:
            config.train.steps = steps_in_time(config, source, eval_source, time_begun)
        elif before.max_minutes == config.train.max_minutes:
            config.train.steps = min(config.train.steps, before.steps)
        notes.append(
            f"train.max_minutes = {config.train.max_minutes:g}: {config.train.steps:,} steps"
        )
    return config


def _restored(
    program: Program, checkpoints: Checkpoints, folder: Workdir
) -> tuple[int, tuple[TrainState, dict] | None, list[str]]:
    """The step of the newest intact checkpoint, its state and position, and lines about damaged
    ones; 0 and None if there is none."""
    steps = program.config.train.steps
    latest = agree(checkpoints.latest() or 0)
    if latest > steps:
        raise InputError(
            f"The run in {folder.path} has taken {latest} steps, more than config.train.steps = "
            f"{steps}.",
            "Increase train.steps, evaluate it with `python -m jaxseg evaluate --workdir "
            f"{folder.path}`, or give another --workdir.",
        )
    back: list[str] = []
    newest = None
    if latest:
        like = abstract(program.like, program.placed)
        newest = checkpoints.restore_newest(like, steps, back.append)
    if newest is None:
        return 0, None, back
    start, state, saved = newest
    return start, (state, saved), back


def _headline(
    config: ml_collections.ConfigDict, state: TrainState, source: Source, eval_source: Source
) -> str:
    parameters = sum(a.size for a in jax.tree.leaves(state.params))
    return (
        f"{config.model.name}: {parameters:,} parameters, {len(source)} training and "
        f"{len(eval_source)} evaluation images, {devices_in_words()}"
    )


def _describe(folder: Workdir, config: ml_collections.ConfigDict, source: Source) -> None:
    """Writes the config and the classes, which other commands read."""
    folder.path.mkdir(parents=True, exist_ok=True)
    save_config(config, folder.config)
    save_classes(source.info, folder.classes)
