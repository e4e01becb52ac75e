"""Training, told top to bottom: data, network, state, loop, final scores."""

import pathlib
import time
from collections.abc import Generator

import jax
import ml_collections
import numpy as np

from jaxseg.checkpoint import Checkpoints, abstract, whole_steps
from jaxseg.config import save_config, validate
from jaxseg.data import (
    Augment,
    Skipped,
    batch_shapes,
    check_position,
    open_data,
    position,
    resize_image,
    save_classes,
    train_batches,
)
from jaxseg.errors import InputError
from jaxseg.evaluate import Evaluator, write_scores
from jaxseg.inference.whole_image import label_images
from jaxseg.models import model_from_config
from jaxseg.optim import check_patterns, frozen, make_optimizer, make_schedule
from jaxseg.pretrained.start import starting_variables
from jaxseg.progress import Progress
from jaxseg.report.panel import comparison
from jaxseg.sharding import (
    gather,
    make_mesh,
    replicated,
    split_batch,
    split_state,
    to_devices,
    to_every_device,
    with_whole_parameters,
)
from jaxseg.step import TrainState, create_state, make_train_step, state_at_start
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
    model = model_from_config(config.model, source.info.num_classes)
    augment = Augment(
        **config.augment,
        fill=tuple(round(v) for v in model.preprocessing.mean),
        ignore_label=source.info.ignore_label,
    )
    steps, batch_size = config.train.steps, config.train.batch_size
    accumulate = config.train.accumulate
    per_part = "train.batch_size" + (" / train.accumulate" if accumulate > 1 else "")
    mesh = make_mesh(batch_size // accumulate, per_part, config.train.fsdp)
    evaluator = Evaluator(model, eval_source, config)

    # ---- the state, new or from the newest checkpoint
    optimizer = make_optimizer(config.optim, steps)
    schedule = make_schedule(config.optim, steps)
    whole, split = replicated(mesh), split_batch(mesh)
    size = config.augment.crop or config.augment.resize or source.size(0)
    averaged = config.optim.ema is not None

    def initial_state() -> TrainState:
        return create_state(model, optimizer, config.seed, size, averaged)

    like = jax.eval_shape(initial_state)
    placed = split_state(mesh, like)
    check_patterns(config.optim, like.params)
    evaluator.check(like.variables)
    folder = Workdir(workdir)
    pretrained = None  # what a new run starts from; looked at before anything is written
    if config.init.pretrained and not whole_steps(folder.checkpoints):
        pretrained, report = starting_variables(model, config.init, config.seed, size)
    folder.open(config)
    checkpoints = Checkpoints(
        folder.checkpoints, config.checkpoint.keep_last, config.checkpoint.keep_best, clean=True
    )
    start = checkpoints.latest() or 0
    where = position(source, step=start, seed=config.seed, batch_size=batch_size)
    if start:
        state, saved = checkpoints.restore(start, abstract(like, placed))
        check_position(saved, where)
    elif pretrained is not None:
        state = jax.jit(lambda v: state_at_start(v, optimizer, averaged), out_shardings=placed)(
            to_every_device(mesh, pretrained)
        )
    else:
        # Random numbers take XLA's optimiser for the CPU a second a layer, to gain nothing here.
        quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
        state = jax.jit(initial_state, out_shardings=placed, compiler_options=quick)()
    save_config(config, folder.config)
    if jax.process_index() == 0:
        save_classes(source.info, folder.classes)

    # ---- the loop
    step_function = make_train_step(
        model,
        optimizer,
        config.loss,
        config.seed,
        source.info.ignore_label,
        accumulate=accumulate,
        ema=config.optim.ema,
        frozen=frozen(config.optim),
    )
    train_step = jax.jit(
        with_whole_parameters(step_function, mesh),
        in_shardings=(placed, split, split),
        out_shardings=(placed, whole),
        donate_argnums=0,
    )
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
    whole_images = config.augment.crop is None and config.augment.resize is None
    pad_to = config.data.pad_to if whole_images else None
    if pad_to:
        shapes = batch_shapes(source, pad_to, batch_size)
        progress.say(f"batches of at most {shapes} shape(s), each of which is compiled once")
    skipped = Skipped(config.data.skip_limit, progress.say)
    batches = _on_devices(
        train_batches(
            source,
            seed=config.seed,
            batch_size=batch_size,
            augment=augment,
            sampling=config.data.sampling,
            pad_to=pad_to,
            skipped=skipped if config.data.on_error == "skip" else None,
            start_step=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=config.data.threads,
            workers=config.data.workers,
            prefetch=config.data.prefetch,
        ),
        mesh,
        ahead=2,
    )
    save_every = config.checkpoint.every_steps or max(1, -(-steps // 10))
    scores = None
    try:
        for step in range(start + 1, steps + 1):
            begun = time.perf_counter()
            images, labels = next(batches)
            progress.waited(time.perf_counter() - begun)
            state, metrics = train_step(state, images, labels)
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


def _on_devices(batches: Generator[dict], mesh, ahead: int) -> Generator[tuple[jax.Array, ...]]:
    """Images and labels on the devices, `ahead` batches early: copies overlap with steps."""
    queue: list[tuple[jax.Array, ...]] = []
    try:
        for batch in batches:
            queue.append(to_devices(mesh, batch["image"], batch["label"]))
            if len(queue) >= ahead:
                yield queue.pop(0)
        yield from queue
    finally:
        batches.close()


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
