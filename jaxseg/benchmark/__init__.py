"""Speed, memory and compile times of what a config describes, measured on this machine."""

from jaxseg.benchmark.run import benchmark
from jaxseg.benchmark.table import benchmark_table
from jaxseg.ops.flops import count_flops

__all__ = ["benchmark", "benchmark_table", "count_flops"]
