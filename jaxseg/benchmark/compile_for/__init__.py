"""Compiles a run's programs for TPUs and GPUs and analyses them, without a device."""

from jaxseg.benchmark.compile_for.compiled import compile_for
from jaxseg.benchmark.compile_for.largest import find_batch, find_batch_line
from jaxseg.benchmark.compile_for.table import compile_for_table

__all__ = ["compile_for", "compile_for_table", "find_batch", "find_batch_line"]
