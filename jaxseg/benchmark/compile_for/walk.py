"""Finds the instructions that run, and how often: entry, loop bodies, calls, longest branches."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from jaxseg.benchmark.compile_for.hlo import Computation, Instruction, Module


class Run(NamedTuple):
    """An instruction that runs by itself, not inside a fusion.

    Attributes:
      computation: the computation that contains it.
      instruction: the instruction.
      times: how often it runs in one run of the program.
      counted: whether the iterations of all loops around it are known; otherwise one is assumed.
    """

    computation: Computation
    instruction: Instruction
    times: int
    counted: bool


def walk(module: Module) -> Iterator[Run]:
    """Yields every instruction that runs; those in a loop's body with its number of iterations.

    A loop's condition is left out, and so are all branches of a conditional except the longest. For
    `call` and `async-start`, the instructions of the called computation are included.
    """
    yield from _walk(module, module.entry, 1, True)


def _walk(module: Module, name: str, times: int, counted: bool) -> Iterator[Run]:
    computation = module.computations[name]
    for instruction in computation.instructions:
        if instruction.op == "while":
            turns = trips(module, computation, instruction)
            yield Run(computation, instruction, times, counted)
            body = instruction.called("body")
            if body in module.computations:
                yield from _walk(module, body, times * (turns or 1), counted and turns is not None)
        elif instruction.op == "conditional":
            branches = [list(_walk(module, b, times, counted)) for b in _branches(instruction)]
            yield from max(branches, key=len, default=[])
        elif instruction.op in ("call", "async-start"):
            called = instruction.called("to_apply") or instruction.called("calls")
            if called in module.computations:
                yield from _walk(module, called, times, counted)
        else:
            yield Run(computation, instruction, times, counted)


def _branches(instruction: Instruction) -> list[str]:
    several = instruction.attribute(r"branch_computations=\{([^}]*)\}")
    if several is not None:
        return re.findall(r"%?([\w.\-]+)", several)
    two = (instruction.called("true_computation"), instruction.called("false_computation"))
    return [name for name in two if name is not None]


def trips(module: Module, computation: Computation, loop: Instruction) -> int | None:
    """The number of iterations of a loop; None if the program does not show it.

    The compiler may have recorded it. Otherwise it is the number that the condition compares with
    the counter: a constant in the condition, or one passed to the loop and returned unchanged. The
    counter starts at 0 and grows by 1, as in JAX's `scan` and `fori_loop`.
    """
    known = loop.attribute(r'"known_trip_count":\{"n":"(\d+)"')
    if known is not None:
        return int(known)
    condition = module.computations.get(loop.called("condition") or "")
    if condition is None:
        return None
    for value in _compared(module, condition, condition.root):
        number = _constant(value)
        if number is None and value.op == "get-tuple-element":
            number = _given(computation, loop, int(value.attribute(r"index=(\d+)") or 0))
        if number is not None:
            return number
    return None


def _compared(
    module: Module, computation: Computation, result: Instruction
) -> Iterator[Instruction]:
    """The operands of a condition, also inside a fusion; the bound before the counter."""
    inside = module.computations.get(result.called("calls") or "")
    for operand in reversed(result.operands):
        if operand in computation.by_name:
            yield computation.by_name[operand]
    if inside is not None:
        yield from (i for i in inside.instructions if i.op == "constant")


def _constant(instruction: Instruction) -> int | None:
    if instruction.op == "constant" and re.fullmatch(r"\d+", instruction.inside.strip()):
        return int(instruction.inside)
    return None


def _given(computation: Computation, loop: Instruction, index: int) -> int | None:
    """The constant at one index of a loop's initial tuple; None if it is not constant."""
    start = computation.by_name.get(loop.operands[0]) if loop.operands else None
    while start is not None and start.op != "tuple" and len(start.operands) == 1:
        start = computation.by_name.get(start.operands[0])
    if start is None or start.op != "tuple" or index >= len(start.operands):
        return None
    value = computation.by_name.get(start.operands[index])
    while value is not None and value.op in ("copy", "bitcast", "copy-done", "copy-start"):
        value = computation.by_name.get(value.operands[0])
    # a constant 0 is the counter, not a bound
    number = None if value is None else _constant(value)
    return number or None
