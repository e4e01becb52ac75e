"""Training, told top to bottom: data, network, state, loop, final scores."""

import pathlib
import time

import jax
import ml_collections
import numpy as np

from jaxseg.checkpoint import Checkpoints, abstract, whole_steps
from jaxseg.config import save_config, validate
from jaxseg.data import Skipped, check_position, open_data, position, resize_image, save_classes
from jaxseg.errors import InputError
from jaxseg.evaluate import Evaluator, write_scores
from jaxseg.inference.whole_image import label_images
from jaxseg.optim import make_schedule
from jaxseg.pretrained.start import starting_variables
from jaxseg.program import Program
from jaxseg.progress import Progress
from jaxseg.report.panel import comparison
from jaxseg.sharding import gather
from jaxseg.step import TrainState
from jaxseg.workdir import Workdir


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
    """
    # ---- what goes in
    validate(config)
    source = open_data(config.data, "train", config.seed)
    eval_source = open_data(config.data, "eval", config.seed)
    program = Program(config, source)
    model, mesh = program.model, program.mesh
    steps, batch_size = config.train.steps, config.train.batch_size
    evaluator = Evaluator(model, eval_source, config)

    # ---- the state, new or from the newest checkpoint
    schedule = make_schedule(config.optim, steps)
    evaluator.check(program.like.variables)
    folder = Workdir(workdir)
    pretrained = None  # what a new run starts from; looked at before anything is written
    if config.init.pretrained and not whole_steps(folder.checkpoints):
        pretrained, report = starting_variables(model, config.init, config.seed, program.size)
    folder.open(config)
    checkpoints = Checkpoints(
        folder.checkpoints, config.checkpoint.keep_last, config.checkpoint.keep_best, clean=True
    )
    start = checkpoints.latest() or 0
    where = position(source, step=start, seed=config.seed, batch_size=batch_size)
    if start:
        state, saved = checkpoints.restore(start, abstract(program.like, program.placed))
        check_position(saved, where)
    elif pretrained is not None:
        state = program.state_from(pretrained)
    else:
        state = program.initial_state()
    save_config(config, folder.config)
    if jax.process_index() == 0:
        save_classes(source.info, folder.classes)

    # ---- the loop
    progress = Progress(folder, start, steps, batch_size, enabled=jax.process_index() == 0)
    parameters = sum(a.size for a in jax.tree.leaves(state.params))
    progress.say(
        f"{config.model.name}: {parameters:,} parameters, {len(source)} training and "
        f"{len(eval_source)} evaluation images, "
        f"{jax.device_count()} device(s) of kind {jax.default_backend()}"
    )
    if start:
        progress.say(f"going on from step {start} of {steps}")
    elif pretrained is not None:
        progress.say(report)
        if jax.process_index() == 0:
            folder.pretrained.write_text(report + "\n", encoding="utf-8")
    if program.pad_to:
        progress.say(
            f"batches of at most {program.shapes()} shape(s), each of which is compiled once"
        )
    skipped = Skipped(config.data.skip_limit, progress.say)
    batches = program.batches(start, skipped if config.data.on_error == "skip" else None)
    save_every = config.checkpoint.every_steps or max(1, -(-steps // 10))
    scores = None
    try:
        for step in range(start + 1, steps + 1):
            begun = time.perf_counter()
            images, labels = next(batches)
            progress.waited(time.perf_counter() - begun)
            state, metrics = program.step(state, images, labels)
            progress.advance()
            if step % config.log.every_steps == 0 or step == steps:
                loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
                _stop_if_not_finite(state, checkpoints)
                progress.training(step, loss, float(schedule(step - 1)), norm)
            begun = time.perf_counter()
            scores = None
            if step == steps or (config.eval.every_steps and step % config.eval.every_steps == 0):
                _stop_if_not_finite(state, checkpoints)
                try:
                    scores = evaluator.scores(gather(mesh, state.variables))
                except InputError:  # a bad file, say: the training up to here is worth keeping
                    checkpoints.save(step, state, where | {"step": step})
                    raise
                progress.evaluation(step, scores)
            if scores or step % save_every == 0:
                _stop_if_not_finite(state, checkpoints)
                checkpoints.save(step, state, where | {"step": step}, scores)
            progress.paused(time.perf_counter() - begun)

        # ---- what comes out
        scores = (scores or evaluator.scores(gather(mesh, state.variables))) | {
            "step": int(state.step)
        }
        checkpoints.wait()
        if jax.process_index() == 0:
            write_scores(folder.scores, scores)
        picture = _picture(model, state, evaluator, config)
        if picture is not None and jax.process_index() == 0:
            picture.save(folder.picture)
            progress.picture(steps, np.asarray(picture))
        return scores
    finally:
        if skipped.problems:
            progress.say(skipped.summary())
        batches.close()
        progress.close()
        checkpoints.close()


def _stop_if_not_finite(state: TrainState, checkpoints: Checkpoints) -> None:
    """Raises InputError where a step's loss or gradient was not finite; nothing of it is saved."""
    bad = int(state.first_bad_step)
    if bad < 0:
        return
    checkpoints.wait()
    kept = checkpoints.latest()
    raise InputError(
        f"The loss or its gradient became NaN or infinite at step {bad}.",
        "Lower config.optim.lr, warm up for longer or set config.optim.clip_norm; "
        + (
            f"the checkpoint of step {kept} is intact; another config needs another workdir."
            if kept
            else "no checkpoint was saved before it."
        ),
    )


def _picture(model, state: TrainState, evaluator: Evaluator, config):
    """Photo, truth, prediction and error of evenly spread evaluation images; None for none."""
    source = evaluator.source
    count = min(config.log.pictures, len(source))
    if not count:
        return None
    rows = []
    for index in np.linspace(0, len(source) - 1, count).round().astype(int):
        example = source[int(index)]
        inputs = resize_image(example.image, config.eval.input_size)[None]
        prediction = label_images(model, state.variables, inputs, example.label.shape)
        rows.append((example.image, example.label, np.asarray(prediction)[0]))
    return comparison(rows, source.info)
