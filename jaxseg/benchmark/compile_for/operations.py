"""Counts the floating point operations of one instruction: matrix products and convolutions."""

import math
import re

from jaxseg.benchmark.compile_for.hlo import Computation, Instruction, Module

# matches both the text of an instruction and the JSON of a custom call
_CONTRACTED = r'lhs_contracting_dim(?:ension)?s"?[:=][\[{]([\d,"]*)'


def operations(module: Module, computation: Computation, instruction: Instruction) -> float:
    """Multiplications and additions of an instruction, including those that it fuses.

    A convolution's window also counts in full at the edges, so the sum over a program is slightly
    larger than `jaxseg.benchmark.count_flops`.
    """
    if inside := module.called(instruction):
        return sum(operations(module, inside, i) for i in inside.instructions)
    given = [computation.by_name[n] for n in instruction.operands if n in computation.by_name]
    if instruction.op == "convolution" or instruction.target.startswith("__cudnn$conv"):
        return _convolution(given, instruction)
    if instruction.op == "dot" or "matmul" in instruction.target or "gemm" in instruction.target:
        contracted = instruction.attribute(_CONTRACTED)
        axes = [int(axis) for axis in re.findall(r"\d+", contracted or "")]
        if not given or not axes:
            return 0
        left = given[0].arrays[0].dims
        return 2 * math.prod(instruction.arrays[0].dims) * math.prod(left[a] for a in axes)
    return 0


def window(instruction: Instruction) -> tuple[int, ...]:
    """The size of a convolution's window.

    >>> window(Instruction("c", "", "convolution", "", ", window={size=3x3 pad=1_1x1_1}"))
    (3, 3)
    """
    size = instruction.attribute(r"window=\{size=([\dx]+)")
    return tuple(int(side) for side in size.split("x")) if size else ()


def _convolution(given, instruction: Instruction) -> float:
    labels = instruction.attribute(r"dim_labels=(\w+_\w+->\w+)")
    if labels is None or len(given) < 2:
        return 0
    kernel_labels = labels.partition("_")[2].partition("->")[0]
    left, right, out = given[0].arrays[0], given[1].arrays[0], instruction.arrays[0]
    target = instruction.target
    # cuDNN's gradients have the labels of the forward convolution
    if target == "__cudnn$convBackwardFilter":
        kernel, maps = out, right
    elif target == "__cudnn$convBackwardInput":
        kernel, maps = right, left
    else:
        kernel, maps = right, out
    inputs = kernel.dims[kernel_labels.index("i")]
    return 2 * math.prod(maps.dims) * math.prod(window(instruction)) * inputs
