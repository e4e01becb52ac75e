"""Counts in the text of a compiled program: bytes, cycles, launches, collectives."""

import collections
import re
from typing import Any

from jaxseg.benchmark.compile_for.collectives import by_kind, collectives
from jaxseg.benchmark.compile_for.hlo import BYTES, Module, parse
from jaxseg.benchmark.compile_for.kernels import kind, launches
from jaxseg.benchmark.compile_for.operations import operations, window
from jaxseg.benchmark.compile_for.origin import Origins
from jaxseg.benchmark.compile_for.recompute import recomputed
from jaxseg.benchmark.compile_for.traffic import NOTHING, bytes_moved
from jaxseg.benchmark.compile_for.walk import Run, walk
from jaxseg.benchmark.peaks import Chip

_WATCHED = ("scatter", "select-and-scatter", "gather", "sort", "reverse", "transpose", "while")
_BESIDE = ("copy-start", "slice-start")  # they overlap with other work, so their time is not added


class Cost:
    """The cost of an instruction that runs.

    Attributes:
      run: the instruction and how often it runs.
      moved: bytes, summed over all runs.
      flops: operations, likewise.
      milliseconds: likewise; for a TPU the compiler's estimate, otherwise the larger bound of the
        roofline.
      told: whether the compiler gave an estimate.
    """

    def __init__(self, module: Module, run: Run, chip: Chip, dtype: str):
        instruction = run.instruction
        self.run = run
        self.moved = run.times * bytes_moved(module, run.computation, instruction)
        self.flops = run.times * operations(module, run.computation, instruction)
        cycles = int(instruction.attribute(r'"estimated_cycles":"(-?\d+)"') or 0)
        self.told = cycles > 0
        by_bytes = self.moved / chip.bandwidth
        if self.told:
            seconds = run.times * cycles / chip.clock
        elif chip.is_tpu:
            seconds = 0.0 if instruction.op in _BESIDE else by_bytes
        else:
            seconds = max(by_bytes, self.flops / (chip.flops(dtype) or chip.float32))
        self.milliseconds = seconds * 1000


def analyse(
    text: str, chip: Chip, dtype: str, top: int, by: str = "time"
) -> tuple[dict[str, Any], list[dict]]:
    """The counts of a program, and its most expensive instructions.

    Args:
      text: from `compiled.as_text()`.
      chip: the target device.
      dtype: compute dtype of the network.
      top: number of instructions to list.
      by: order of the list, "time" or "bytes".
    """
    module = parse(text)
    runs, sent = list(walk(module)), collectives(module)
    costs = [Cost(module, run, chip, dtype) for run in runs if run.instruction.op not in NOTHING]
    time = sum(cost.milliseconds for cost in costs)
    counts: dict[str, Any] = {
        "bytes": sum(cost.moved for cost in costs) + sum(c.moved for c in sent),
        "flops_compiled": sum(cost.flops for cost in costs),
    }
    if chip.is_tpu:
        counts["cycles"] = time / 1000 * chip.clock
        counts["milliseconds"] = time
        counts["milliseconds_not_told"] = sum(c.milliseconds for c in costs if not c.told)
    else:
        counts["milliseconds_at_least"] = time
    kernels = launches(runs)
    counts["launches"] = sum(kernels.values())
    counts["kernels"] = kernels
    counts["loops_of_unknown_length"] = sum(not run.counted for run in runs)
    counts["watched"] = watched(module)
    origins = Origins(module)
    counts["convolutions"] = convolutions(module, origins)
    counts["recomputed"] = recomputed(module, runs)
    counts["collectives"] = by_kind(sent)
    costs.sort(key=lambda c: c.moved if by == "bytes" else c.milliseconds, reverse=True)
    return counts, [_row(cost, time, origins) for cost in costs[:top]]


def watched(module: Module) -> dict[str, dict[str, float]]:
    """Operations that are slow on an accelerator: their number, and the elements of the largest.

    For `reverse`, also the length of the longest reversed axis: reversing a kernel for the gradient
    of a convolution is cheap, reversing an image is not.
    """
    found: dict[str, dict[str, float]] = {}
    for instruction in module.instructions():
        if instruction.op not in _WATCHED:
            continue
        entry = found.setdefault(instruction.op, {"count": 0, "largest": 0})
        entry["count"] += 1
        elements = max((a.size / BYTES[a.dtype] for a in instruction.arrays), default=0)
        entry["largest"] = max(entry["largest"], elements)
        if instruction.op == "reverse":
            axes = re.findall(r"\d+", instruction.attribute(r"dimensions=\{([\d,]*)\}") or "")
            turned = [instruction.arrays[0].dims[int(axis)] for axis in axes]
            entry["longest"] = max([entry.get("longest", 0), *turned])
    return dict(sorted(found.items()))


def convolutions(module: Module, origins: Origins) -> dict[str, Any]:
    """Convolutions and products: their numbers by input types, the source lines of those in
    float32, and the widest window of a convolution that is not a gradient."""
    types: collections.Counter[str] = collections.Counter()
    lines: collections.Counter[str] = collections.Counter()
    widest = 0
    for computation in module.computations.values():
        for i in computation.instructions:
            name = kind(i) if i.op == "custom-call" else i.op
            if not name.startswith(("convolution", "dot", "matrix product")):
                continue
            given = [computation.by_name[n] for n in i.operands if n in computation.by_name]
            pair = "×".join(g.arrays[0].dtype for g in given[:2] if g.arrays)
            types[f"{name} {pair}"] += 1
            if "f32" in pair:
                lines[str(origins(i) or "?")] += 1
            if name == "convolution":
                widest = max((widest, *window(i)))
    return {
        "types": dict(types.most_common()),
        "float32_lines": dict(lines.most_common()),
        "widest_window": widest,
    }


def _row(cost: Cost, time: float, origins: Origins) -> dict[str, Any]:
    """A row for the list of the most expensive instructions."""
    instruction = cost.run.instruction
    line = origins(instruction)
    shapes = [f"{a.dtype}[{','.join(map(str, a.dims))}]" for a in instruction.arrays]
    return {
        "name": instruction.name,
        "kind": kind(instruction),
        "times": cost.run.times,
        "milliseconds": cost.milliseconds,
        "share": cost.milliseconds / time if time else 0.0,
        "told_by_compiler": cost.told,
        "bytes": cost.moved,
        "flops": cost.flops,
        "result": " ".join(shapes[:3]) + (" ..." if len(shapes) > 3 else ""),
        "line": None if line is None else str(line),
        "function": None if line is None else line.function,
        "op_name": origins.named(instruction).op_name,
    }
