"""The cost of a run's step, reported after its compilation."""

import math

import jax

from jaxseg.ops.flops import count_flops
from jaxseg.training.setup import Program
from jaxseg.utils.usage import program_memory


def summary(program: Program, images: jax.Array, labels: jax.Array) -> str:
    """A line with operations, memory and the length of an epoch.

    Args:
      program: a program whose `compile` was called with the batch.
      images, labels: a batch; only its shapes matter.
    """
    batch = images.shape[0]
    flops = count_flops(program.step, program.like, images, labels)
    parts = [f"a step of {batch} images needs {_in_words(flops)}FLOPs"]
    memory = program_memory(program.compiled) if program.compiled is not None else {}
    if memory:
        parts.append(f"{sum(memory.values()) / 2**30:.2f} GiB of memory per device")
    steps = math.ceil(len(program.source) / batch)
    return f"{', '.join(parts)}; an epoch has {steps:,} steps"


def _in_words(number: float) -> str:
    """A number with a unit prefix.

    >>> _in_words(1.24e12), _in_words(380e6)
    ('1.24 T', '380 M')
    """
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= factor:
            return f"{number / factor:.3g} {prefix}"
    return f"{number:.3g} "
