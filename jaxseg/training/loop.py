"""The training loop: data, network, state, steps, final scores."""

import contextlib
import functools
import pathlib
import time

import jax
import ml_collections
import numpy as np

from jaxseg.checkpoint.lock import WorkdirLock
from jaxseg.checkpoint.manager import Checkpoints, abstract
from jaxseg.checkpoint.steps import whole_steps
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import save_config, validate
from jaxseg.config.files import absolute_paths
from jaxseg.data import (
    Skipped,
    Source,
    check_position,
    check_same_classes,
    first_look,
    open_data,
    position,
    save_classes,
)
from jaxseg.distributed.devices import device_count, devices_in_words
from jaxseg.distributed.mesh import gather
from jaxseg.distributed.multihost import agree, failing_together, wait_for_others
from jaxseg.errors import InputError, Stopped
from jaxseg.evaluation.evaluator import Evaluator, write_scores
from jaxseg.pretrained.init import starting_variables
from jaxseg.training.environment import record
from jaxseg.training.loggers import Logger, TensorBoard, WeightsAndBiases, check_loggers
from jaxseg.training.loss_monitor import LossMonitor
from jaxseg.training.patience import Patience
from jaxseg.training.preemption import StopRequest
from jaxseg.training.progress import Progress
from jaxseg.training.setup import Program
from jaxseg.utils.atomic import atomic_file, write_atomic
from jaxseg.utils.compiler_memory import give_back_compiler_memory
from jaxseg.utils.exhausted import disk_is_full, full_disk, full_memory, memory_is_full
from jaxseg.utils.spread import evenly_spread
from jaxseg.visualization.panel import comparison


def train(config: ml_collections.ConfigDict, workdir: str | pathlib.Path) -> dict:
    """Trains as `config` says, going on where an earlier run in `workdir` stopped, then scores.

    The result is a function of the config: a run that was killed and started again ends with the
    same parameters, bit for bit on one machine, as one that was not.

    Args:
      config: see `jaxseg.config.default_config`.
      workdir: where the run's files are or go.

    Returns:
      The final scores, as in the `scores.json` it writes: `metrics.scores`, with `class_names` and
      `step`.

    Raises:
      InputError: something about the config, the data or the workdir is wrong, or the loss became
        NaN.
      Stopped: SIGTERM, SIGHUP or SIGINT (Ctrl-C) asked for it once; the step was finished and
        saved.
    """
    try:
        with contextlib.ExitStack() as stack:
            return _train(config, workdir, stack)
    except Exception as error:
        told = _in_two_lines(error, config, Workdir(workdir, config.checkpoint.folder))
        if told is None:
            raise
        raise told from error


def _train(
    config: ml_collections.ConfigDict, workdir: str | pathlib.Path, stack: contextlib.ExitStack
) -> dict:
    """`train`; what is held until its end is on `stack`."""
    # ---- config, data, network
    validate(config)
    config = absolute_paths(config)
    check_loggers(config.log)
    folder = Workdir(workdir, config.checkpoint.folder)
    source = open_data(config.data, "train", config.seed)
    eval_source = open_data(config.data, "eval", config.seed)
    hints = first_look(source)
    begun = bool(whole_steps(folder.checkpoints))
    if begun:
        check_same_classes(source.info, folder.classes)
    program = Program(config, source)
    config, hints = program.config, program.notes + hints
    model, mesh = program.model, program.mesh
    steps, batch_size = config.train.steps, config.train.batch_size
    evaluator = Evaluator.of_run(model, eval_source, config)

    # ---- the state, new or from the newest checkpoint
    evaluator.check(program.like.variables)
    pretrained = None  # the start of a new run, checked before anything is written
    if config.init.pretrained and not begun:
        pretrained, report = starting_variables(model, config.init, config.seed, program.size)
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
    latest = agree(checkpoints.latest() or 0)
    if latest > steps:
        raise InputError(
            f"The run in {folder.path} has taken {latest} steps, more than config.train.steps = "
            f"{steps}.",
            f"Raise train.steps, score it with `python -m jaxseg evaluate --workdir {folder.path}`,"
            " or give another --workdir.",
        )
    back: list[str] = []
    newest = None
    if latest:
        like = abstract(program.like, program.placed)
        newest = checkpoints.restore_newest(like, steps, back.append)
    start = newest[0] if newest else 0
    data_position = position(source, step=start, seed=config.seed, batch_size=batch_size)
    if newest is not None:
        _, state, saved = newest
        check_position(saved, data_position)
    elif pretrained is not None:
        state = program.state_from(pretrained)
    else:
        state = program.initial_state()
    if is_main:
        _describe(folder, config, source)
        record(folder.environment, start)
    wait_for_others("the config is written")
    if not folder.config.is_file():  # a machine with a disk of its own: `evaluate` looks there
        _describe(folder, config, source)

    # ---- the loop
    loggers: list[Logger] = []
    if is_main and config.log.wandb is not None:
        loggers.append(WeightsAndBiases(folder, start, config.log.wandb, config))
    if is_main:
        loggers.append(TensorBoard(folder, start))
    progress = Progress(folder, start, steps, batch_size, loggers, enabled=is_main)
    parameters = sum(a.size for a in jax.tree.leaves(state.params))
    progress.say(
        f"{config.model.name}: {parameters:,} parameters, {len(source)} training and "
        f"{len(eval_source)} evaluation images, "
        f"{devices_in_words()}"
    )
    if jax.config.jax_compilation_cache_dir:
        progress.say(f"compiled programs are kept in {jax.config.jax_compilation_cache_dir}")
    if checkpoints.removed:
        progress.say(f"removed half-written checkpoint(s): {', '.join(checkpoints.removed)}")
    for line in back:
        progress.say(line)
    if start:
        progress.say(f"going on from step {start} of {steps}")
    elif pretrained is not None:
        progress.say(report)
        if is_main:
            write_atomic(folder.pretrained, report + "\n")
    for hint in hints:
        progress.say(hint)
    if program.pad_to:
        progress.say(
            f"batches of at most {program.shapes()} shape(s), each of which is compiled once"
        )
    of_this_process = functools.partial(print, f"process {jax.process_index()}:", flush=True)
    tell = progress.say if is_main else of_this_process
    skipped = Skipped(config.data.skip_limit, tell)
    monitor = LossMonitor(checkpoints, progress.say)
    batches = program.batches(
        start, skipped if config.data.on_error == "skip" else None, monitor.names
    )

    patience = Patience(config.train.patience, folder.log, start)

    def save(step: int, state, scores: dict | None = None) -> None:
        progress.flush()  # or a kill would lose curves of steps that are not taken again
        checkpoints.save(step, state, data_position | {"step": step}, scores, steps)

    save_every = config.checkpoint.every_steps or max(1, -(-steps // 10))
    scores = None
    try:
        with failing_together(), StopRequest() as request:
            if start < steps and not patience.ended:
                progress.compiling()
            for step in range(start + 1, steps + 1):
                if patience.ended:
                    break
                waiting = time.perf_counter()
                images, labels = next(batches)
                progress.waited(time.perf_counter() - waiting)
                with jax.transfer_guard("disallow"):  # nothing but the batches goes either way
                    state, metrics = program.step(state, images, labels)
                if step == start + 1:
                    give_back_compiler_memory()
                progress.advance()
                if step % config.log.every_steps == 0 or step == steps:
                    loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
                    monitor.stop_if_not_finite(state)
                    monitor.hint_if_guessing(step, loss, float(metrics["guessing"]))
                    progress.training(step, loss, float(program.schedule(step - 1)), norm)
                waiting = time.perf_counter()
                scores = None
                if step == steps or (
                    config.eval.every_steps and step % config.eval.every_steps == 0
                ):
                    monitor.stop_if_not_finite(state)
                    variables = gather(mesh, state.variables)
                    try:
                        scores = evaluator.scores(variables)
                    except InputError:  # a bad file, say: the training up to here is worth keeping
                        if jax.process_count() == 1:  # the others may not have met it
                            save(step, state)
                        raise
                    progress.evaluation(step, scores)
                    patience.add(step, scores["mean_iou"])
                    if is_main and step < steps:
                        picture = _picture(variables, evaluator, config.log.pictures)
                        if picture is not None:
                            progress.picture(step, np.asarray(picture))
                stopped = step < steps and request.made(step)
                if scores or stopped or step % save_every == 0:
                    monitor.stop_if_not_finite(state)
                    save(step, state, scores)
                if stopped:
                    checkpoints.wait()
                    raise Stopped(
                        f"stopped at step {step} of {steps}: it is saved, start again to go on"
                    )
                progress.paused(time.perf_counter() - waiting)

            # ---- results
            if patience.ended and patience.best is not None:
                progress.say(
                    f"no better mean IoU in {config.train.patience} evaluations since step "
                    f"{patience.best[0]} ({patience.best[1]:.4f}): the run ends here"
                )
            scores = (scores or evaluator.scores(gather(mesh, state.variables))) | {
                "step": int(state.step)
            }
            checkpoints.wait()
            variables = gather(mesh, state.variables)
            if is_main:
                write_scores(folder.scores, scores)
                picture = _picture(variables, evaluator, config.log.pictures)
                if picture is not None:
                    with atomic_file(folder.picture) as file:
                        picture.save(file, "PNG")
                    progress.picture(steps, np.asarray(picture))
            return scores
    finally:
        if skipped.problems:
            tell(skipped.summary())
        batches.close()
        progress.close()


def _in_two_lines(
    error: Exception, config: ml_collections.ConfigDict, folder: Workdir
) -> InputError | None:
    """What is said of an error that comes from a full disk or memory; None of another."""
    if isinstance(error, InputError):
        return None
    if disk_is_full(error):
        saved = whole_steps(folder.checkpoints)
        kept = f"the checkpoint of step {saved[-1]} is whole" if saved else "no step was saved yet"
        return full_disk(folder.path, kept)
    if memory_is_full(error):
        return full_memory(
            error,
            f"A step on {config.train.batch_size} images, {config.train.accumulate} part(s) "
            "after each other,",
            _smaller(config),
        )
    return None


def _smaller(config: ml_collections.ConfigDict) -> str:
    """What takes less memory than `config`."""
    parts, batch = config.train.accumulate, config.train.batch_size
    devices = device_count()
    ways = []
    more = [n for n in range(2 * parts, batch + 1) if batch % n == 0 and batch // n % devices == 0]
    if more:
        ways.append(f"config.train.accumulate={more[0]} (a batch in that many parts)")
    if batch // parts > devices:
        ways.append(f"config.train.batch_size={max(devices, batch // 2 // devices * devices)}")
    crop = config.augment.crop
    if crop is not None:
        half = tuple(max(32, n // 2 // 32 * 32) for n in crop)
        ways.append(f"config.augment.crop={half} (a quarter of the memory)")
    else:
        ways.append("config.augment.crop, smaller than the images")
    if not config.model.get("remat", False):
        ways.append("config.model.remat=True (a third more time)")
    return f"Set {', or '.join(ways)}."


def _describe(folder: Workdir, config: ml_collections.ConfigDict, source: Source) -> None:
    """Writes the config and the classes, by which others know the run."""
    folder.path.mkdir(parents=True, exist_ok=True)
    save_config(config, folder.config)
    save_classes(source.info, folder.classes)


def _picture(variables, evaluator: Evaluator, pictures: int):
    """Photo, truth, prediction and error of evenly spread evaluation images; None for none."""
    source = evaluator.source
    rows = []
    for index in evenly_spread(len(source), pictures):
        example = source[index]
        rows.append((example.image, example.label, evaluator.labels(variables, example)))
    return comparison(rows, source.info) if rows else None
