"""Parses the text of an optimised XLA program into computations, instructions and arrays.

`compiled.as_text()` is the only form in which every XLA compiler describes its output. A module is
a list of computations. One of them is the entry, the others are bodies of loops, fusions and calls.
A line is an instruction:

    %fusion.3 = bf16[8,16]{1,0:T(8,128)(2,1)S(1)} fusion(%a, %b), kind=kLoop, calls=%f, metadata=...

It has a name, a shape with layout, an operation, operands and attributes. A layout has the order of
the axes, fastest first, then a TPU's tiles `T(...)` and the memory space `S(n)`. Without a memory
space, the array is in the device's main memory, HBM; otherwise it is in a TPU's fast on-chip
memory.

The tables before the first computation map instructions to lines of Python.
"""

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

BYTES: Mapping[str, float] = {
    "pred": 1,
    "s4": 0.5,
    "u4": 0.5,
    "f8e4m3fn": 1,
    "f8e5m2": 1,
    "s8": 1,
    "u8": 1,
    "s16": 2,
    "u16": 2,
    "bf16": 2,
    "f16": 2,
    "s32": 4,
    "u32": 4,
    "f32": 4,
    "s64": 8,
    "u64": 8,
    "f64": 8,
    "c64": 8,
    "c128": 16,
}
"""Bytes per element of each type in our programs."""

_TYPES = "|".join(sorted(BYTES, key=len, reverse=True))
_ARRAY = re.compile(rf"\b({_TYPES})\[([\d,]*)\](?:\{{([^{{}}]*)\}})?")
_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_LINE = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_NAME = re.compile(r"%([\w.\-]+)")


@dataclass(frozen=True)
class Array:
    """One array of an instruction's result: its type, dimensions and layout."""

    dtype: str
    dims: tuple[int, ...]
    layout: str = ""

    @property
    def size(self) -> float:
        """Bytes of the elements, without padding."""
        return math.prod(self.dims) * BYTES[self.dtype]

    @property
    def is_fast(self) -> bool:
        """Whether it is in the fast memory of a TPU, not in HBM."""
        return re.search(r"S\([1-9]", self.layout) is not None

    @property
    def stored(self) -> float:
        """Bytes that it occupies in HBM, 0 in fast memory; a TPU pads its tiles.

        >>> Array("bf16", (9, 130), "1,0:T(8,128)(2,1)").stored == 2 * 16 * 256
        True
        """
        if self.is_fast:
            return 0
        dims = list(self.dims)
        order, _, rest = self.layout.partition(":")
        tile = re.search(r"T\(([\d,]+)\)", rest)
        if tile and order:
            fastest = [int(axis) for axis in order.split(",")]
            sides = [int(side) for side in tile[1].split(",")]
            for axis, side in zip(fastest, reversed(sides), strict=False):
                dims[axis] = -(-dims[axis] // side) * side
        return math.prod(dims) * BYTES[self.dtype]


def arrays(shape: str) -> tuple[Array, ...]:
    """The arrays in the text of a shape; for a tuple, in order.

    >>> [a.dims for a in arrays("(f32[2,3]{1,0}, /*index=1*/pred[])")]
    [(2, 3), ()]
    """
    return tuple(
        Array(dtype, tuple(int(d) for d in dims.split(",") if d), layout)
        for dtype, dims, layout in _ARRAY.findall(shape)
    )


@dataclass(frozen=True)
class Instruction:
    """One line: `name` = `shape` `op`(`operands`), `attributes`."""

    name: str
    shape: str
    op: str
    inside: str  # the text between the parentheses: operands, or the value of a constant
    attributes: str
    is_root: bool = False

    @functools.cached_property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays of the result; more than one for a tuple."""
        return arrays(self.shape)

    @functools.cached_property
    def operands(self) -> tuple[str, ...]:
        """The names of its operands."""
        return tuple(_NAME.findall(self.inside))

    @property
    def stored(self) -> float:
        """Bytes of the result in HBM."""
        return sum(a.stored for a in self.arrays)

    @property
    def size(self) -> float:
        """Bytes of the result's elements, without padding."""
        return sum(a.size for a in self.arrays)

    def attribute(self, pattern: str) -> str | None:
        """The first group of a regular expression in the attributes; None without a match."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else None

    def called(self, key: str) -> str | None:
        """The name of the computation after `key=`; None if there is none."""
        return self.attribute(rf"\b{key}=%?([\w.\-]+)")

    @functools.cached_property
    def target(self) -> str:
        """The target of a custom call; "" for other instructions."""
        return self.attribute(r'custom_call_target="([^"]+)"') or ""

    @property
    def op_name(self) -> str:
        """The path of names from JAX, such as jit(train_step)/jvp(...)/conv1_1/add."""
        return self.attribute(r'op_name="([^"]*)"') or ""


@dataclass
class Computation:
    """The instructions of one computation, in the order of their lines."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)

    @functools.cached_property
    def by_name(self) -> dict[str, Instruction]:
        """The instructions by name."""
        return {i.name: i for i in self.instructions}

    @functools.cached_property
    def root(self) -> Instruction:
        """The instruction that gives the result of the computation."""
        return next((i for i in self.instructions if i.is_root), self.instructions[-1])

    @functools.cached_property
    def parameters(self) -> dict[int, Instruction]:
        """The parameters by number."""
        return {int(i.inside): i for i in self.instructions if i.op == "parameter"}

    def users(self, name: str) -> list[Instruction]:
        """The instructions that have `name` as an operand."""
        return self._users.get(name, [])

    @functools.cached_property
    def _users(self) -> dict[str, list[Instruction]]:
        users: dict[str, list[Instruction]] = {}
        for instruction in self.instructions:
            for operand in dict.fromkeys(instruction.operands):
                users.setdefault(operand, []).append(instruction)
        return users


@dataclass
class Module:
    """A program: its computations by name, the name of the entry, and tables of Python lines."""

    computations: dict[str, Computation]
    entry: str
    tables: dict[str, dict[int, str]]

    def called(self, fusion: Instruction) -> Computation | None:
        """The computation of a fusion; None for any other instruction."""
        if fusion.op != "fusion":
            return None
        return self.computations.get(fusion.called("calls") or "")

    def instructions(self) -> Iterator[Instruction]:
        """Every instruction of every computation, including those inside fusions."""
        for computation in self.computations.values():
            yield from computation.instructions


def parse(text: str) -> Module:
    """Parses `compiled.as_text()`.

    >>> module = parse('''HloModule m
    ...
    ... ENTRY %main (x: f32[4]) -> f32[4] {
    ...   %x = f32[4]{0} parameter(0)
    ...   ROOT %y = f32[4]{0} add(%x, %x)
    ... }
    ... ''')
    >>> module.computations[module.entry].root.op
    'add'
    """
    module = Module({}, "", {})
    current: Computation | None = None
    table: dict[int, str] | None = None
    for line in text.splitlines():
        if current is not None:
            if line.startswith("}"):
                current = None
            elif found := _LINE.match(line):
                current.instructions.append(_instruction(*found.groups()))
        elif found := _HEAD.match(line):
            current = module.computations.setdefault(found[2], Computation(found[2]))
            if found[1]:
                module.entry = found[2]
        elif line in ("FileNames", "FunctionNames", "FileLocations", "StackFrames"):
            table = module.tables.setdefault(line, {})
        elif table is not None and (found := re.match(r"(\d+) (.*)", line)):
            table[int(found[1])] = found[2].strip('"')
    return module


def _instruction(root: str | None, name: str, text: str) -> Instruction:
    """Parses the right side of a line."""
    shape, rest = _split_shape(text)
    found = re.match(r"([\w\-]+)\(", rest)
    if found is None:
        return Instruction(name, shape, "?", "", rest, root is not None)
    end = _closing(rest, found.end() - 1)
    inside, attributes = rest[found.end() : end], rest[end + 1 :]
    return Instruction(name, shape, found[1], inside, attributes, root is not None)


def _split_shape(text: str) -> tuple[str, str]:
    """The shape at the start of the text, and the rest."""
    if text.startswith("("):
        end = _closing(text, 0) + 1
    else:
        found = re.match(r"\w+\[[^\]]*\](\{[^{}]*\})?", text)
        end = found.end() if found else 0
    return text[:end], text[end:].lstrip()


def _closing(text: str, start: int) -> int:
    """The position of the parenthesis that closes the one at `start`; skips quoted text."""
    depth, quoted = 0, False
    for at in range(start, len(text)):
        letter = text[at]
        if letter == '"' and text[at - 1] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (letter == "(") - (letter == ")")
            if not depth:
                return at
    return len(text)
