"""Measures training, evaluation, data loading or compilation of a config."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from jaxseg.benchmark.measure import (
    compilations,
    milliseconds,
    peak_memory,
    spread,
)
from jaxseg.benchmark.peaks import peak_flops
from jaxseg.config import validate
from jaxseg.data import Example, Source, open_data
from jaxseg.distributed.devices import device_count
from jaxseg.distributed.mesh import gather
from jaxseg.errors import InputError, nearest
from jaxseg.evaluation.evaluator import Evaluator
from jaxseg.ops.flops import count_flops
from jaxseg.training.setup import Program
from jaxseg.utils.usage import (
    processor_seconds,
    program_memory,
    reading_threads,
    usable_processors,
)

_WARM_UP = 2  # untimed runs at the start, which fill caches and memory


def benchmark(
    config: ml_collections.ConfigDict,
    what: str = "train",
    *,
    repeats: int = 10,
    source: Source | None = None,
) -> dict[str, Any]:
    """Measures the same programs that `train` and `evaluate` run.

    It writes no files, and uses random parameters.

    Args:
      config: config of a run.
      what: "train": a step alone, then steps with their data; "eval": evaluation of images;
        "loader": training data alone; "compile": compilation of a run's programs.
      repeats: number of timed steps or batches.
      source: replaces the data set of the config.

    Returns:
      Numbers by name, ready for JSON; the names include the units. "peak_flops" is None if the
      device's peak is unknown, or was not used for a whole step.

    Raises:
      InputError: an unknown `what`, fewer than 1 `repeats`, or an invalid config or data set.
    """
    if what not in _KINDS:
        raise InputError(f"There is no benchmark '{what}'.", nearest(what, _KINDS))
    if repeats < 1:
        raise InputError(f"repeats is {repeats}.", "Give 1 or more.")
    validate(config)
    device = jax.devices()[0]
    about = {
        "what": what,
        "network": config.model.name,
        "width": config.model.width,
        "dtype": config.model.dtype,
        "batch_size": config.train.batch_size,
        "device": device.device_kind,
        "platform": device.platform,
        "devices": device_count(),
        "processors": usable_processors(),
        "jax": jax.__version__,
    }
    split = "eval" if what == "eval" else "train"
    source = source or open_data(config.data, split, config.seed)
    return about | _KINDS[what](config, source, repeats) | {"peak_bytes": peak_memory()}


def _train(config: ml_collections.ConfigDict, source: Source, repeats: int) -> dict[str, Any]:
    program = Program(config, source)
    batches = program.batches()
    try:
        batch = next(batches)
        compiled, result = _compiled(program, batch)
        state = program.initial_state()
        batch_size, size = config.train.batch_size, batch[0].shape[1:3]
        parameters = sum(a.size for a in jax.tree.leaves(state.params))

        def step() -> jax.Array:
            nonlocal state
            state, metrics = compiled(state, *batch)
            return metrics["loss"]

        milliseconds(step, _WARM_UP)
        alone = spread(milliseconds(step, repeats))

        # as in training: a step is dispatched before the previous one is done
        begun, waited = time.perf_counter(), 0.0
        for _ in range(repeats):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            run = compiled if batch[0].shape[1:3] == size else program.step
            state, metrics = run(state, *batch)
        jax.block_until_ready(metrics)
        seconds = time.perf_counter() - begun
    finally:
        batches.close()

    flops = _flops_per_image(config, program, batch)
    peak = peak_flops(jax.devices()[0], config.model.dtype)
    rate = flops * batch_size / (alone["median"] / 1000) / device_count()
    return {
        "image_size": list(size),
        "parameters": parameters,
        "step_milliseconds": alone,
        "images_per_second": batch_size / (alone["median"] / 1000),
        "images_per_second_with_data": repeats * batch_size / seconds,
        "data_wait_share": waited / seconds,
        "flops_per_image": flops,
        "flops_per_second_and_device": rate,
        "peak_flops": peak,
        "share_of_peak": rate / peak if peak else None,
    } | result


def _compiled(program: Program, batch) -> tuple[Callable, dict[str, Any]]:
    """The compiled train step, with the time and memory of its compilation."""
    begun = time.perf_counter()
    lowered = program.step.lower(program.like, *batch)
    traced = time.perf_counter()
    compiled = lowered.compile()
    return compiled, {
        "trace_seconds": traced - begun,
        "compile_seconds": time.perf_counter() - traced,
        "program_bytes": program_memory(compiled),
    }


def _flops_per_image(config: ml_collections.ConfigDict, program: Program, batch) -> float:
    """Operations of a train step per image, without recomputation by `remat`."""
    if config.model.remat:
        config = config.copy_and_resolve_references()
        config.model.remat = None
        program = Program(config, program.source)
    return count_flops(program.step, program.like, *batch) / config.train.batch_size


def _eval(config: ml_collections.ConfigDict, source: Source, repeats: int) -> dict[str, Any]:
    program = Program(config, source)
    variables = gather(program.mesh, program.initial_state().variables)
    images = min(len(source), repeats * (config.eval.batch_size or config.train.batch_size))
    evaluator = Evaluator.of_run(program.model, _First(source, images), config)

    def scores() -> None:
        evaluator.confusion(variables)

    with compilations() as compiled:
        first = milliseconds(scores, 1)
    with compilations() as again:
        times = spread(milliseconds(scores, 3))
    return {
        "images": images,
        "image_sizes": len({source.size(i) for i in range(images)}),
        "images_per_second": images / (times["median"] / 1000),
        "milliseconds_per_image": {k: v / images for k, v in times.items()},
        "first_seconds": first[0] / 1000,
        "compilations": len(compiled),
        "compile_seconds": sum(compiled),
        "later_compilations": len(again),
    }


class _First:
    """The first `count` examples of a source."""

    def __init__(self, source: Source, count: int):
        self._source, self._count = source, count
        self.info, self.name, self.size = source.info, source.name, source.size

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        return self._source[index]


def _loader(config: ml_collections.ConfigDict, source: Source, repeats: int) -> dict[str, Any]:
    program = Program(config, source)
    batch_size = config.train.batch_size
    batches, begun = program.batches(), time.perf_counter()
    next(batches)
    first = time.perf_counter() - begun
    for _ in itertools.islice(batches, config.data.prefetch + _WARM_UP):
        pass  # skips the batches prepared in advance
    worked, begun = processor_seconds(), time.perf_counter()
    for _ in itertools.islice(batches, repeats):
        pass
    seconds = time.perf_counter() - begun
    batches.close()  # ends the workers, so that their processor time is counted
    return {
        "threads": reading_threads(config.data.threads),
        "workers": config.data.workers,
        "images": repeats * batch_size,
        "first_batch_seconds": first,
        "images_per_second": repeats * batch_size / seconds,
        "processor_milliseconds_per_image": None
        if config.data.workers
        else (processor_seconds() - worked) / (repeats * batch_size) * 1000,
    }


def _compile(config: ml_collections.ConfigDict, source: Source, repeats: int) -> dict[str, Any]:
    """Measures without the compilation cache, as on a new machine."""
    del repeats  # each program is compiled only once
    from jax.experimental.compilation_cache import compilation_cache

    used = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        program = Program(config, source)
        batches = program.batches()
        batch = next(batches)
        batches.close()
        _, step = _compiled(program, batch)
        with compilations() as initial:
            state = jax.block_until_ready(program.initial_state())
        evaluated = open_data(config.data, "eval", config.seed)
        evaluator = Evaluator.of_run(program.model, _First(evaluated, 1), config)
        with compilations() as evaluation:
            evaluator.confusion(gather(program.mesh, state.variables))
    finally:
        jax.config.update("jax_enable_compilation_cache", used)
        compilation_cache.reset_cache()
    return step | {
        "initialisation_compile_seconds": sum(initial),
        "evaluation_compilations": len(evaluation),
        "evaluation_compile_seconds": sum(evaluation),
    }


_KINDS: dict[str, Callable[[ml_collections.ConfigDict, Source, int], dict[str, Any]]] = {
    "train": _train,
    "eval": _eval,
    "loader": _loader,
    "compile": _compile,
}
