"""The batch size that a device's memory allows: `config.train.batch_size` = 0."""

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
"""Of a device's memory: programs that only just fit run out of it by fragments."""


def largest_batch(
    config: ml_collections.ConfigDict,
    source: Source,
    memory: int | None = None,
    say: Callable[[str], object] = print,
) -> int:
    """The largest number of images, a power of two for each device, whose train step fits.

    The compiler says what a step takes; nothing is run and nothing crashes. Steps of two sizes are
    compiled to see how memory grows, then those near the limit. An epoch keeps eight steps, so that
    a small data set does not end up in one batch.

    Args:
      config: of a run; its `train.batch_size` does not matter.
      source: the training split.
      memory: bytes of each device; None: as the device or, for a CPU, the system tells.
      say: receives a line for each size that is compiled.

    Raises:
      InputError: a step on one image a device does not fit, or the platform does not tell.
    """
    # class weights are counted once, and not for each size
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
        """Bytes of each device for a step on so many images a device."""
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
    """The largest power of two, up to `most`, of which `takes` is no more than `limit`; 0: none.

    Where `takes` grows by about as much for each image, few values are asked for: of 1 and 2, and
    those near the limit.

    Args:
      takes: the memory of so many images; it should remember what it was asked.
      limit: the memory there is.
      most: images that are of use.

    >>> largest_that_fits(lambda images: 10 + 3 * images, limit=60, most=100)
    16
    """
    if takes(1) > limit:
        return 0
    if most < 2 or takes(2) > limit:
        return 1
    each = max(takes(2) - takes(1), 1)  # a step's memory is a constant and so much for each image
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
