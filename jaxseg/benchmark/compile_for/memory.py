"""The memory of a compiled program on a device, and the memory that the device has."""

import re

import jax

from jaxseg.benchmark.peaks import Chip
from jaxseg.utils.usage import program_memory

# The usable part of a device's memory. A TPU's system reserves a quarter of a GiB. On a GPU, JAX
# uses three quarters, unless XLA_PYTHON_CLIENT_MEM_FRACTION sets another share.
_KEPT_BY_TPU, _SHARE_OF_GPU = 2.0**28, 0.75
_UNITS = {"": 1, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}


def usable(chip: Chip) -> float:
    """Bytes of a device's memory that a program can use."""
    return chip.memory - _KEPT_BY_TPU if chip.is_tpu else chip.memory * _SHARE_OF_GPU


def memory_of(compiled: jax.stages.Compiled, chip: Chip) -> dict[str, float]:
    """Bytes of a program on one device: "argument", "temporary", "output", "code", their "total",
    the compiler's own "peak" if available, and the "usable" part of the "chip"."""
    parts: dict[str, float] = dict(program_memory(compiled))
    analysis = compiled.memory_analysis()
    parts["code"] = int(getattr(analysis, "generated_code_size_in_bytes", 0))
    parts["total"] = sum(parts.values())
    peak = int(getattr(analysis, "peak_memory_in_bytes", 0) or 0)
    if peak:
        parts["peak"] = peak
    return parts | {"usable": usable(chip), "chip": chip.memory}


def out_of_memory(error: Exception) -> float | None:
    """The bytes that a program needs according to a compiler's error; 0 if it gives no number.

    None for any other error.

    >>> text = "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
    >>> text += "space hbm. Used 21.00G of 15.75G hbm. Exceeded hbm capacity by 5.25G."
    >>> out_of_memory(RuntimeError(text)) / 2**30
    21.0
    """
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and "Ran out of memory" not in text:
        return None
    found = re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", text)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0
