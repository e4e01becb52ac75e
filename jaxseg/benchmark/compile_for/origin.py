"""Finds the line of Python that an instruction comes from, by the tables in a program's text."""

import functools
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import jaxseg.errors
from jaxseg.benchmark.compile_for.hlo import Instruction, Module

_PACKAGE = str(pathlib.Path(jaxseg.errors.__file__).parent)
_DISPATCH = str(pathlib.Path(_PACKAGE, "ops", "dispatch.py"))  # skipped: it only calls other code


_FRAME = r"stack_frame_id=(\d+)"


class Line(NamedTuple):
    """A line of a file, and its function."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        file = self.file
        if file.startswith(_PACKAGE):
            file = "jaxseg" + file.removeprefix(_PACKAGE)
        return f"{pathlib.PurePath(file).as_posix()}:{self.line}"


class Origins:
    """Looks up lines of Python.

    Args:
      module: the program.
    """

    def __init__(self, module: Module):
        self._module, self._tables = module, module.tables
        self._own = functools.cache(self._search)

    def __call__(self, instruction: Instruction) -> Line | None:
        """The innermost line in jaxseg that created the instruction; None if unknown.

        A fusion without a line has that of its last instruction.
        """
        named = self.named(instruction)
        frame = named.attribute(_FRAME)
        return self._own(int(frame)) if frame else None

    def named(self, instruction: Instruction) -> Instruction:
        """The instruction; for a fusion without a line, its last instruction that has one."""
        inside = self._module.called(instruction)
        if inside is None or instruction.attribute(_FRAME) is not None:
            return instruction
        having = (i for i in reversed(inside.instructions) if i.attribute(_FRAME) is not None)
        return next(having, instruction)

    def _search(self, frame: int) -> Line | None:
        lines = list(self._stack(frame))
        own = (n for n in lines if n.file.startswith(_PACKAGE) and n.file != _DISPATCH)
        return next(own, lines[0] if lines else None)

    def _stack(self, frame: int) -> Iterator[Line]:
        """The lines of the stack, from the innermost frame outwards."""
        frames, locations = (
            self._tables.get("StackFrames", {}),
            self._tables.get("FileLocations", {}),
        )
        files, functions = self._tables.get("FileNames", {}), self._tables.get("FunctionNames", {})
        while frame in frames:
            numbers = _numbers(frames[frame])
            place = _numbers(locations.get(numbers.get("file_location_id", 0), ""))
            if place:
                yield Line(
                    files.get(place["file_name_id"], "?"),
                    place["line"],
                    functions.get(place["function_name_id"], "?"),
                )
            outer = numbers.get("parent_frame_id", 0) - 1  # stored plus 1; 0 means no frame
            if outer >= frame:
                return
            frame = outer


def _numbers(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", text)}
