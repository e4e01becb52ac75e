"""Measures speed, memory and compile times of a config on this machine."""

from jaxseg.benchmark.run import benchmark
from jaxseg.benchmark.table import benchmark_table
from jaxseg.ops.flops import count_flops

__all__ = ["benchmark", "benchmark_table", "count_flops"]
