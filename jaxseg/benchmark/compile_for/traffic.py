"""Counts the bytes that an instruction moves between a device's main memory and its processor."""

from collections.abc import Sequence

from jaxseg.benchmark.compile_for.collectives import KINDS
from jaxseg.benchmark.compile_for.hlo import Array, Computation, Instruction, Module

NOTHING = frozenset(
    "parameter constant tuple get-tuple-element bitcast after-all partition-id replica-id "
    "opt-barrier while conditional call async-start async-update async-done copy-done slice-done "
    "all-reduce-done all-gather-done collective-permute-done send-done recv-done "
    "add-dependency domain".split()
)
"""Operations that move nothing: names for existing values, and ends of asynchronous operations."""

_NAMES_ALONE = ("AllocateBuffer", "ConcatBitcast", "AssumeGatherIndicesInBound", "Sharding")
_LOOKS_INTO = ("dynamic-slice", "slice", "gather")  # read only a part of their first operand
_ASYNC = ("AsyncCollectiveStart", "AsyncCollectiveDone")


def bytes_moved(module: Module, computation: Computation, instruction: Instruction) -> float:
    """Bytes that one run of an instruction reads from and writes to HBM.

    Arrays in a TPU's fast memory do not count, and a TPU's tiles count in full. Otherwise each
    operation counts what it needs: a slice reads its result, an update in place touches what it
    changes, a scatter reads and writes as many cells as it has updates (as in XLA's own analysis),
    and a fusion counts its parameters and results by the same rules. Workspaces of cuDNN and cuBLAS
    do not count. Each array counts once per instruction, as if caches were perfect.
    """
    op, out = instruction.op, instruction.arrays
    if op in NOTHING or instruction.target in _NAMES_ALONE:
        return 0
    operands = [computation.by_name.get(name) for name in instruction.operands]
    given = [i for i in operands if i is not None]
    if op == "copy-start":  # (destination, source, context)
        return _both_ways(out[0], out[1]) if len(out) > 1 else instruction.stored
    if op == "slice-start":  # ((source), destination, context); it reads only its destination
        whole = given[0].arrays if given else ()
        return _both_ways(*(out[len(whole)], *whole)) if len(out) > len(whole) else 0
    if op in _LOOKS_INTO:
        return _part(instruction.size, given[0]) + instruction.stored + _stored(given[1:])
    if op == "dynamic-update-slice" and len(given) > 1:
        return given[1].stored + _part(given[1].size, instruction)
    if op == "scatter":
        return _scattered(given, instruction)
    if inside := module.called(instruction):
        return _fused(module, inside, given, instruction)
    if op in ("broadcast", "iota"):
        return instruction.stored
    if op == "custom-call" and instruction.target.startswith("__cu"):
        kept = out[:-1] if len(out) > 1 and out[-1].dtype in ("s8", "u8") else out
        return _stored(given) + sum(a.stored for a in kept)
    return _stored(_distinct(given)) + instruction.stored


def _distinct(instructions: Sequence[Instruction]) -> list[Instruction]:
    return list({i.name: i for i in instructions}.values())


def _stored(instructions: Sequence[Instruction]) -> float:
    return sum(i.stored for i in instructions)


def _both_ways(destination: Array, source: Array) -> float:
    """A copy of the destination's size: reads from the source's memory, writes to its own."""
    return destination.stored + _part(destination.size, source)


def _part(size: float, whole: Array | Instruction) -> float:
    """Bytes in HBM of a part with `size` bytes, padded in the same ratio as the whole."""
    return min(size / whole.size, 1) * whole.stored if whole.size else 0


def _scattered(given: Sequence[Instruction], scatter: Instruction) -> float:
    """The updates, as many cells read and written, and the indices."""
    count = len(scatter.arrays)
    indices, updates = given[count : count + 1], given[count + 1 :]
    cells = sum(a.size for i in updates for a in i.arrays)
    return _stored(indices) + _stored(updates) + 2 * _part(cells, scatter)


def _fused(
    module: Module, inside: Computation, given: Sequence[Instruction], fusion: Instruction
) -> float:
    total = 0.0
    seen = set()
    for number, operand in enumerate(given):
        parameter = inside.parameters.get(number)
        if operand.name not in seen and parameter is not None:
            total += _read(module, inside, parameter, operand)
        seen.add(operand.name)
    results = [inside.root]
    if inside.root.op == "tuple":
        results = [inside.by_name[name] for name in inside.root.operands]
    if len(results) != len(fusion.arrays):
        return total + fusion.stored
    for result, array in zip(results, fusion.arrays, strict=True):
        total += _written(module, inside, result, array)
    return total


def _read(module: Module, inside: Computation, parameter: Instruction, whole: Instruction) -> float:
    """The bytes that a fusion reads of one parameter: all, unless every user reads only a part."""
    total = 0.0
    for user in inside.users(parameter.name):
        first = user.operands[0] == parameter.name
        if user.op in _LOOKS_INTO and first:
            total += _part(user.size, whole)
        elif user.op in ("dynamic-update-slice", "scatter") and first:
            total += 0  # changed in place: only the write counts
        elif user.op in KINDS or user.target in _ASYNC:
            total += 0  # sent over the network: counted in `collectives`
        elif user.is_root and user.op == "tuple":
            total += 0  # returned unchanged
        elif user.op == "bitcast":
            total += _read(module, inside, user, whole)
        elif called := module.called(user):
            deeper = called.parameters.get(user.operands.index(parameter.name))
            if deeper is None:
                return whole.stored
            total += _read(module, called, deeper, whole)
            if _through_bitcasts(called, called.root) is deeper:  # the fusion only renames it
                total += _read(module, inside, user, whole)
        else:
            return whole.stored
    return min(total, whole.stored)


def _written(module: Module, inside: Computation, result: Instruction, array: Array) -> float:
    """The bytes that a fusion writes of one result."""
    result = _through_bitcasts(inside, result)
    if result.op == "copy":  # a copy of an update in place, to another layout
        behind = _through_bitcasts(inside, inside.by_name[result.operands[0]])
        result = behind if behind.op in ("dynamic-update-slice", "scatter") else result
    if result.op == "parameter" or result.op in KINDS or result.target in _ASYNC:
        return 0
    if result.op == "dynamic-update-slice":
        return _part(inside.by_name[result.operands[1]].size, array)
    if result.op == "scatter":
        updates = [inside.by_name[n] for n in result.operands[len(result.arrays) + 1 :]]
        return 2 * _part(sum(u.size for u in updates), array)
    if called := module.called(result):
        return _written(module, called, called.root, array)
    return array.stored


def _through_bitcasts(inside: Computation, value: Instruction) -> Instruction:
    """The value behind a chain of bitcasts."""
    while value.op == "bitcast" and value.operands[0] in inside.by_name:
        value = inside.by_name[value.operands[0]]
    return value
