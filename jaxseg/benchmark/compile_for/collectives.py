"""The collectives of a program by kind and type, with their bytes."""

from typing import NamedTuple

from jaxseg.benchmark.compile_for.hlo import Computation, Instruction, Module

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")


class Collective(NamedTuple):
    """One collective of a program.

    Attributes:
      kind: one of `KINDS`.
      dtype: dtype of its arrays; several are joined by "+".
      size: bytes of its result on one device.
      moved: bytes that it reads from and writes to HBM if it is inside a fusion; 0 for a separate
        one, which is counted like any other instruction.
    """

    kind: str
    dtype: str
    size: float
    moved: float


def collectives(module: Module) -> list[Collective]:
    """The collectives of a program, each once.

    A TPU's compiler overlaps a collective with other work, and repeats it in each fusion with which
    it overlaps; such lines have the same `channel_id`. Its reduce-scatter is an all-reduce in a
    computation named all-reduce-scatter.
    """
    found: dict[str, Collective] = {}
    fused = {inside.name for i in module.instructions() if (inside := module.called(i))}
    for computation in module.computations.values():
        for instruction in computation.instructions:
            op = instruction.op.removesuffix("-start")
            if op not in KINDS:
                continue
            if op == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
                op = "reduce-scatter"
            arrays = instruction.arrays
            if instruction.op.endswith("-start") and len(arrays) % 2 == 0 and op != "all-reduce":
                arrays = arrays[len(arrays) // 2 :]  # operands come before results
            dtype = "+".join(sorted({a.dtype for a in arrays}))
            size = sum(a.size for a in arrays)
            channel = instruction.attribute(r"channel_id=(\d+)") or instruction.name
            if channel not in found or op == "reduce-scatter":
                moved = _moved(computation, instruction) if computation.name in fused else 0
                found[channel] = Collective(op, dtype, size, moved)
    return list(found.values())


def _moved(computation: Computation, instruction: Instruction) -> float:
    given = [computation.by_name[n] for n in instruction.operands if n in computation.by_name]
    return instruction.stored + sum(i.stored for i in given)


def by_kind(found: list[Collective]) -> dict[str, dict[str, float]]:
    """Their count and bytes by kind and type: {"all-gather f32": {"count": 9, "bytes": 5e8}}."""
    sums: dict[str, dict[str, float]] = {}
    for collective in found:
        entry = sums.setdefault(f"{collective.kind} {collective.dtype}", {"count": 0, "bytes": 0})
        entry["count"] += 1
        entry["bytes"] += collective.size
    return dict(sorted(sums.items()))
