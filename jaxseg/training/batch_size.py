"""Chooses the batch size by the device's memory: `config.train.batch_size` = 0."""

from collections.abc import Callable

import jax
import ml_collections
import numpy as np

from jaxseg.data import Source
from jaxseg.distributed.devices import device_count, device_memory
from jaxseg.errors import InputError
from jaxseg.training.automatic import resolved
from jaxseg.training.setup import Program
from jaxseg.utils.usage import program_memory

_SHARE = 0.9
"""Usable share of a device's memory; fragmentation makes programs fail that just fit."""


def largest_batch(
    config: ml_collections.ConfigDict,
    source: Source,
    memory: int | None = None,
    say: Callable[[str], object] = print,
) -> int:
    """The largest number of images, a power of two per device, whose train step fits in memory.

    The compiler reports the memory of a step, so no step runs and none can fail. Steps of two sizes
    are compiled to find how memory grows, then sizes near the limit. An epoch has at least eight
    steps, so that a small data set does not become a single batch.

    Args:
      config: config of a run; its `train.batch_size` is ignored.
      source: the training split.
      memory: bytes of each device; None: as reported by the device or, for a CPU, the system.
      say: receives a line for each compiled size.

    Raises:
      InputError: a step with one image per device does not fit, or the memory is unknown.
    """
    # resolved once, so that class weights are not counted again for each size
    config = resolved(config, source, lambda line: None)
    devices = device_count() // config.train.space
    memory = device_memory() if memory is None else memory
    if memory is None:
        raise InputError(
            "Config field train.batch_size is 0, but the device does not report its memory.",
            "Give the number of images.",
        )
    limit = memory * _SHARE
    known: dict[int, int] = {}

    def takes(images: int) -> int:
        """Bytes per device for a step with this many images per device."""
        if images not in known:
            known[images] = _step_bytes(config, source, images * devices)
            say(f"a step of {images * devices} images needs {known[images] / 2**30:.2f} GiB")
        return known[images]

    most = max(len(source) // (8 * devices), 1)
    fits = largest_that_fits(takes, limit, most)
    if not fits:
        raise InputError(
            f"A step with one image per device needs {takes(1) / 2**30:.2f} GiB, more than nine "
            f"tenths of the {memory / 2**30:.2f} GiB of a device.",
            "Set a smaller config.augment.crop, config.model.remat=True or "
            "config.model.dtype=bfloat16.",
        )
    return fits * devices


def largest_that_fits(takes: Callable[[int], float], limit: float, most: int) -> int:
    """The largest power of two, up to `most`, for which `takes` is at most `limit`; 0: none.

    If `takes` grows by about the same amount per image, it is called for few values: 1, 2, and some
    near the limit.

    Args:
      takes: memory for a number of images; it should cache its results.
      limit: available memory.
      most: maximum useful number of images.

    >>> largest_that_fits(lambda images: 10 + 3 * images, limit=60, most=100)
    16
    """
    if takes(1) > limit:
        return 0
    if most < 2 or takes(2) > limit:
        return 1
    each = max(takes(2) - takes(1), 1)  # a step's memory is a constant plus an amount per image
    fits = 2
    while 2 * fits <= most and takes(2) + (2 * fits - 2) * each <= limit:
        fits *= 2
    while fits > 2 and takes(fits) > limit:
        fits //= 2
    while 2 * fits <= most and takes(2 * fits) <= limit:
        fits *= 2
    return fits


def _step_bytes(config: ml_collections.ConfigDict, source: Source, batch_size: int) -> int:
    config = config.copy_and_resolve_references()
    config.train.batch_size = batch_size
    program = Program(config, source)
    height, width = program.size
    expected = program.model.preprocessing
    images = jax.ShapeDtypeStruct(
        (batch_size, height, width, expected.channels), np.dtype(expected.dtype)
    )
    labels = jax.ShapeDtypeStruct((batch_size, height, width), np.uint8)
    memory = program_memory(program.step.lower(program.like, images, labels).compile())
    if not memory:
        raise InputError(
            "Config field train.batch_size is 0, but the compiler does not report the memory of "
            "a step.",
            "Give the number of images.",
        )
    return sum(memory.values())
