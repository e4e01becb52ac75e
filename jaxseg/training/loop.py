"""The training loop: steps, evaluations, checkpoints, final metrics."""

import contextlib
import functools
import pathlib
import time

import jax
import ml_collections
import numpy as np
from PIL import Image

from jaxseg.checkpoint.steps import COMPARED_FROM
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.data import Skipped
from jaxseg.distributed.mesh import gather
from jaxseg.distributed.multihost import failing_together
from jaxseg.errors import InputError, Stopped
from jaxseg.evaluation.evaluator import write_scores
from jaxseg.training.begin import Run, begin
from jaxseg.training.exhausted import run_error
from jaxseg.training.loggers import open_loggers
from jaxseg.training.loss_monitor import LossMonitor
from jaxseg.training.patience import Patience
from jaxseg.training.preemption import StopRequest
from jaxseg.training.profile import Profile
from jaxseg.training.progress import Progress
from jaxseg.training.step import TrainState
from jaxseg.training.summary import summary
from jaxseg.training.time_limit import TimeLimit
from jaxseg.utils.atomic import atomic_file
from jaxseg.utils.freed_memory import give_back_freed_memory
from jaxseg.utils.spread import evenly_spread
from jaxseg.visualization.panel import comparison


def train(config: ml_collections.ConfigDict, workdir: str | pathlib.Path) -> dict:
    """Trains as set by `config`, resuming an earlier run in `workdir`, then evaluates.

    The result is a function of the config: a run that was killed and resumed ends with the same
    parameters as an uninterrupted one, bit for bit on one machine.

    Args:
      config: see `jaxseg.config.default_config`.
      workdir: existing or new folder of the run.

    Returns:
      The final metrics, as in the `scores.json` that it writes: `metrics.scores`, with
      `class_names` and `step`.

    Raises:
      InputError: an error in the config, the data or the workdir, or the loss became NaN.
      Stopped: SIGTERM, SIGHUP or SIGINT (Ctrl-C) was received once; the step was finished and
        saved.
    """
    run = None
    try:
        with contextlib.ExitStack() as stack:
            run = begin(config, workdir, stack)
            return _train(run, stack)
    except Exception as error:
        folder = Workdir(workdir, config.checkpoint.folder)
        told = run_error(error, config, folder, began=run is not None)
        if told is None:
            raise
        raise told from error


def _train(run: Run, stack: contextlib.ExitStack) -> dict:
    """The steps of `train`; `stack` holds resources until the end."""
    config, folder, program, evaluator = run.config, run.folder, run.program, run.evaluator
    state, start, steps = run.state, run.start, run.config.train.steps
    is_main = jax.process_index() == 0
    loggers = open_loggers(folder, start, config) if is_main else []
    progress = Progress(folder, start, steps, config.train.batch_size, loggers, enabled=is_main)
    stack.callback(progress.close)
    for note in run.notes:
        progress.say(note)

    of_this_process = functools.partial(print, f"process {jax.process_index()}:", flush=True)
    tell = progress.say if is_main else of_this_process
    skipped = Skipped(config.data.skip_limit, tell)
    monitor = LossMonitor(run.checkpoints, progress.say)
    batches = program.batches(
        start, skipped if config.data.on_error == "skip" else None, monitor.names
    )
    stack.callback(batches.close)
    stack.callback(lambda: skipped.problems and tell(skipped.summary()))
    profile = Profile(config.log.profile if is_main else None, folder.path / "profile", tell)
    stack.callback(profile.close)
    limit = TimeLimit(config.train.max_minutes, run.time_begun, config.log.every_steps)
    patience = Patience(config.train.patience, folder.log, start, run.position[COMPARED_FROM])

    def save(step: int, state: TrainState, scores: dict | None = None) -> None:
        folder.check_present()  # nobody could open a run without its config
        progress.flush()  # otherwise a kill would lose curves of steps that are not repeated
        run.checkpoints.save(step, state, run.position | {"step": step}, scores, steps)

    def evaluate(step: int, state: TrainState, variables: dict) -> dict:
        begun = time.perf_counter()
        try:
            scores = evaluator.scores(variables)
        except InputError:  # for example a bad file; the training so far is worth keeping
            if jax.process_count() == 1:  # other processes may not have had the error
                save(step, state)
            raise
        limit.evaluated(time.perf_counter() - begun)
        progress.evaluation(step, scores)
        patience.add(step, scores["mean_iou"])
        return scores

    save_every = config.checkpoint.every_steps or max(1, -(-steps // 10))
    scores, over = None, False
    with failing_together(), StopRequest() as request:
        for step in range(start + 1, steps + 1):
            if patience.ended or over:
                break
            waiting = time.perf_counter()
            images, labels = next(batches)
            progress.waited(time.perf_counter() - waiting)
            if step == start + 1:
                compiling = time.perf_counter()
                progress.compiling()
                program.compile(images, labels)
                progress.say(summary(program, images, labels))
                progress.paused(time.perf_counter() - compiling)
            profile.before(step)
            with jax.transfer_guard("disallow"):  # only batches are transferred
                state, metrics = program.take_step(state, images, labels)
            if step == start + 1:
                request.compiled()
                give_back_freed_memory()
            progress.advance()
            profile.after(step, metrics)
            if step % config.log.every_steps == 0 or step == steps:
                loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
                monitor.stop_if_not_finite(state)
                monitor.hint_if_guessing(step, loss, float(metrics["guessing"]))
                progress.training(step, loss, float(program.schedule(step - 1)), norm)
            waiting = time.perf_counter()
            scores = None
            over = limit.passed(step)
            ends = over or step == steps
            if ends or (config.eval.every_steps and step % config.eval.every_steps == 0):
                monitor.stop_if_not_finite(state)
                variables = gather(program.mesh, state.variables)  # on all processes
                scores = evaluate(step, state, variables)
                if is_main and not ends:
                    _show(variables, run, progress, step)
            stopped = not ends and request.made(step)
            if scores or stopped or step % save_every == 0:
                monitor.stop_if_not_finite(state)
                save(step, state, scores)
            if stopped:
                run.checkpoints.wait()
                raise Stopped(
                    f"stopped at step {step} of {steps}: saved; run the same command to resume"
                )
            progress.paused(time.perf_counter() - waiting)

        reached = int(state.step)
        if patience.ended and patience.best is not None:
            progress.say(
                f"stopping early: no better mean IoU in {config.train.patience} evaluations since "
                f"step {patience.best[0]} ({patience.best[1]:.4f})"
            )
        if over and reached < steps:
            progress.say(f"stopping at step {reached}: train.max_minutes is reached")
        variables = gather(program.mesh, state.variables)
        scores = scores or evaluator.scores(variables)
        scores["step"] = reached
        run.checkpoints.wait()
        if is_main:
            _write_results(variables, run, progress, scores)
        if request.received and jax.process_count() == 1:  # the next stage must not begin
            raise Stopped(
                f"stopped at step {reached}: the run is complete; run the same command for "
                "what follows"
            )
        return scores


def _write_results(variables: dict, run: Run, progress: Progress, scores: dict) -> None:
    """Writes `scores.json` and `predictions.png`."""
    run.folder.check_present()
    write_scores(run.folder.scores, scores)
    picture = _show(variables, run, progress, scores["step"])
    if picture is not None:
        with atomic_file(run.folder.picture) as file:
            picture.save(file, "PNG")


def _show(variables: dict, run: Run, progress: Progress, step: int) -> Image.Image | None:
    """Logs image, truth, prediction and error of evenly spread evaluation images; returns the
    picture, None if there are no images."""
    evaluator, source = run.evaluator, run.evaluator.source
    rows = []
    for index in evenly_spread(len(source), run.config.log.pictures):
        example = source[index]
        rows.append((example.image, example.label, evaluator.labels(variables, example)))
    if not rows:
        return None
    picture = comparison(rows, source.info)
    progress.picture(step, np.asarray(picture))
    return picture
