"""Compiles a program of a run for devices that are not present, and analyses it."""

import contextlib
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections

from jaxseg.benchmark.compile_for.analysis import analyse
from jaxseg.benchmark.compile_for.described import Size, described
from jaxseg.benchmark.compile_for.memory import memory_of, out_of_memory
from jaxseg.benchmark.compile_for.programs import STEPS, Step, plain_form
from jaxseg.benchmark.compile_for.roofline import roofline, rooflines
from jaxseg.benchmark.compile_for.topology import Topology, open_topology
from jaxseg.benchmark.plain import plain_network
from jaxseg.config import validate
from jaxseg.errors import InputError, nearest
from jaxseg.ops.flops import count_flops
from jaxseg.utils.atomic import write_atomic


def compile_for(
    config: ml_collections.ConfigDict,
    target: str,
    what: str = "train",
    *,
    size: Size | None = None,
    top: int = 12,
    by: str = "time",
    dump: pathlib.Path | None = None,
    beside: str | None = None,
) -> dict[str, Any]:
    """Compiles the program that a run would use, and analyses the compiler's output.

    It needs no device, no data and no parameters, only shapes. It takes about a minute, and 2 to
    4 GB.

    Args:
      config: config of a run.
      target: such as "tpu:v5e:2x2", "cuda:h200", "cuda:h200:4".
      what: "train", "eval" (labels and counts a batch) or "forward" (images to coarse logits).
      size: (height, width) of whole images, if the config does not define it.
      top: number of most expensive instructions to list.
      by: order of this list, "time" or "bytes".
      dump: file for the compiler's text.
      beside: "plain" to also compile the same step of the same network in plain Flax and Optax; its
        numbers are the result's "beside".

    Returns:
      Numbers by name, ready for JSON; the names include the units. They are for one device. If the
      program does not fit, only the numbers of memory are included.

    Raises:
      InputError: the config, the target or `what` is invalid, or a compiler is not installed.
    """
    check_what(what)
    if beside not in (None, "plain"):
        raise InputError(f"--beside does not accept '{beside}'.", "Give 'plain'.")
    validate(config)
    topology = open_topology(target)
    data = described(config, size)
    plain = None if beside is None else plain_network(config.model, data.info.num_classes)
    step = STEPS[what](config, data, topology.devices)
    about = {
        "what": what,
        "network": config.model.name,
        "width": config.model.width,
        "dtype": config.model.dtype,
        "target": target,
        "devices": len(topology.devices),
        "batch_size": step.batch_size,
        "image_size": list(step.size),
        "jax": jax.__version__,
    }
    result = about | compiled_step(topology, step, config.model.dtype, top, by, dump)
    if plain is not None:
        plainly = plain_form(plain, what, step, topology.devices)
        result["beside"] = compiled_step(topology, plainly, config.model.dtype, top, by)
    return result


def check_what(what: str) -> None:
    """Raises InputError unless `what` is a known program."""
    if what not in STEPS:
        raise InputError(f"'{what}' cannot be compiled.", nearest(what, STEPS))


def compiled_step(
    topology: Topology,
    step: Step,
    dtype: str,
    top: int = 12,
    by: str = "time",
    dump: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Compiles a step for a topology, and returns the numbers of `compile_for`."""
    devices = len(topology.devices)
    with _uncached():
        begun = time.perf_counter()
        lowered = step.function.lower(*step.arguments)
        traced = time.perf_counter()
        try:
            compiled = lowered.compile(compiler_options=topology.options or None)
        except Exception as error:
            needed = out_of_memory(error)
            if needed is None:
                raise
            return {"fits": False, "memory_bytes": {"chip": topology.chip.memory, "needed": needed}}
        seconds = time.perf_counter() - traced
        text = compiled.as_text()
        flops = count_flops(step.function, *step.arguments) / devices
    if dump is not None:
        write_atomic(dump, text)
    counts, dearest = analyse(text, topology.chip, dtype, top, by)
    memory = memory_of(compiled, topology.chip)
    result = {
        "flops": flops,
        **counts,
        "memory_bytes": memory,
        "fits": memory["total"] <= memory["usable"],
        "roofline": roofline(topology.chip, dtype, flops, counts["bytes"]),
        "rooflines": rooflines(dtype, flops, counts["bytes"]),
        "trace_seconds": traced - begun,
        "compile_seconds": seconds,
        "dearest": dearest,
    }
    if counts.get("milliseconds"):
        result["images_per_second"] = step.batch_size / counts["milliseconds"] * 1000
        peak = topology.chip.flops(dtype) or topology.chip.float32
        result["share_of_peak"] = flops / (counts["milliseconds"] / 1000) / peak
    else:
        least = counts["milliseconds_at_least"]
        result["images_per_second_at_most"] = step.batch_size / least * 1000
    return result


@contextlib.contextmanager
def _uncached() -> Iterator[None]:
    """Disables the compilation cache, which cannot store programs for other devices."""
    used = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", used)
