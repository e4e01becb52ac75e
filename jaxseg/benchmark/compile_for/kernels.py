"""The kernels that a program launches, by kind."""

import collections
from collections.abc import Iterable

from jaxseg.benchmark.compile_for.hlo import Instruction
from jaxseg.benchmark.compile_for.traffic import NOTHING
from jaxseg.benchmark.compile_for.walk import Run

_CUDNN = {  # descriptions of cuDNN's calls
    "__cudnn$convForward": "convolution",
    "__cudnn$convBiasActivationForward": "convolution",
    "__cudnn$convBackwardInput": "convolution, gradient of x",
    "__cudnn$convBackwardFilter": "convolution, gradient of the kernel",
}


def kind(instruction: Instruction) -> str:
    """A readable kind of an instruction: "convolution", "fusion", "copy" ...

    >>> kind(Instruction("f", "", "fusion", "", ", kind=kLoop, calls=%f"))
    'fusion (loop)'
    """
    if instruction.target in _CUDNN:
        return _CUDNN[instruction.target]
    if instruction.target.startswith("__cublas"):
        return "matrix product"
    if instruction.op == "custom-call":
        return f"call of {instruction.target}"
    if instruction.op == "fusion":
        form = instruction.attribute(r"kind=k(\w+)")
        return f"fusion ({form.lower()})" if form else "fusion"
    return instruction.op


def launches(runs: Iterable[Run]) -> dict[str, int]:
    """The number of launches of each kind of kernel, including repetitions; most frequent first."""
    counts: collections.Counter[str] = collections.Counter()
    for run in runs:
        if run.instruction.op not in NOTHING and run.instruction.target != "AllocateBuffer":
            counts[kind(run.instruction)] += run.times
    return dict(counts.most_common())
