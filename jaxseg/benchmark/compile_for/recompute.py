"""Checks whether `remat` is effective: convolutions are recomputed, and after the loss."""

from collections.abc import Iterable, Iterator

from jaxseg.benchmark.compile_for.hlo import Instruction, Module
from jaxseg.benchmark.compile_for.kernels import kind
from jaxseg.benchmark.compile_for.walk import Run

_AGAIN = "rematted_computation"  # part of the names from jax.checkpoint
_GRADIENT = "transpose("


def recomputed(module: Module, runs: Iterable[Run]) -> dict[str, int]:
    """Counts the convolutions that are recomputed for the backward pass.

    A compiler may detect that they equal those of the forward pass and compute them only once, or
    compute them early. In both cases, their results are kept, and `remat` has no effect.

    Returns:
      "convolutions": their number; "early": the number of those before the first gradient of a
      convolution.
    """
    again = early = 0
    begun = False
    for run in runs:
        for name in _convolutions(module, run.instruction):
            if _AGAIN in name:
                again += 1
                early += not begun
            elif _GRADIENT in name:
                begun = True
    return {"convolutions": again, "early": early}


def _convolutions(module: Module, instruction: Instruction) -> Iterator[str]:
    """JAX's names for the convolutions in an instruction."""
    if inside := module.called(instruction):
        for inner in inside.instructions:
            yield from _convolutions(module, inner)
    elif instruction.op == "convolution" or kind(instruction).startswith("convolution"):
        yield instruction.op_name
