"""Whether what `remat` asks for is done: convolutions computed again, and after the loss."""

from collections.abc import Iterable, Iterator

from jaxseg.benchmark.compile_for.hlo import Instruction, Module
from jaxseg.benchmark.compile_for.kernels import kind
from jaxseg.benchmark.compile_for.walk import Run

_AGAIN = "rematted_computation"  # in the names that jax.checkpoint gives
_GRADIENT = "transpose("


def recomputed(module: Module, runs: Iterable[Run]) -> dict[str, int]:
    """Convolutions that are computed a second time for the backward pass.

    A compiler may find that they are those of the forward pass and compute them once, or compute
    them early; both keep what `remat` wanted to forget.

    Returns:
      "convolutions": how many; "early": those of them before the first gradient of a convolution.
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
    """JAX's names of the convolutions in an instruction."""
    if inside := module.called(instruction):
        for inner in inside.instructions:
            yield from _convolutions(module, inner)
    elif instruction.op == "convolution" or kind(instruction).startswith("convolution"):
        yield instruction.op_name
