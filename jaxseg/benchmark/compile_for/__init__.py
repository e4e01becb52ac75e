"""What the compilers of TPU and GPU say of a run's programs, without a device."""

from jaxseg.benchmark.compile_for.compiled import compile_for
from jaxseg.benchmark.compile_for.largest import find_batch, find_batch_line
from jaxseg.benchmark.compile_for.table import compile_for_table

__all__ = ["compile_for", "compile_for_table", "find_batch", "find_batch_line"]
