"""Parses the lines of a `classes.txt`: names, or names with colours."""

import re
from collections.abc import Sequence
from typing import NamedTuple

IGNORED = ("__ignore__", "_ignore_", "ignore")


class Named(NamedTuple):
    """A class name with its colour."""

    name: str
    colour: tuple[int, int, int]


def named_colours(lines: Sequence[str]) -> list[Named] | None:
    """Parses lines `name r g b`; returns None unless all lines have this form.

    >>> named_colours(["sky 0 0 255", "traffic light 250 170 30"])[1]
    Named(name='traffic light', colour=(250, 170, 30))
    >>> named_colours(["sky", "road 1"])
    """
    found = []
    for line in lines:
        words = line.replace(",", " ").split()
        if len(words) < 4 or not all(w.isdecimal() and int(w) < 256 for w in words[-3:]):
            return None
        red, green, blue = (int(w) for w in words[-3:])
        found.append(Named(" ".join(words[:-3]), (red, green, blue)))
    return found or None


def is_ignored(name: str) -> bool:
    """Whether a name marks a colour that belongs to no class."""
    return name.lower() in IGNORED


def misplaced_line(lines: Sequence[str]) -> tuple[int, str, str] | None:
    """The first line that would shift the indices of later classes; None if there is none.

    Such a line is a comment, which would count as a class; or, if every line begins with a number,
    one whose number is not its position, counted from 0 or from 1.

    Returns:
      The row from 0, the problem, and the fix.

    >>> misplaced_line(["0: sky", "2: road", "1: car"])[:2]
    (1, "has the number 2, and its place makes it class 1 ('2: road')")
    >>> misplaced_line(["1 road", "2 car"]), misplaced_line(["10 euro", "50 euro"])
    (None, None)
    """
    for row, line in enumerate(lines):
        if line.startswith("#"):
            return row, "is a comment", "Take it out: every line is a class, the first is class 0."
    numbered = [re.fullmatch(r"(\d+)[\s:;,.)=-]+(\D.*)", line) for line in lines]
    pairs = [(int(found[1]), found[2]) for found in numbered if found]
    if len(pairs) < len(lines) or any(len(set(c)) < len(lines) for c in zip(*pairs, strict=True)):
        return None
    first = min(pairs[0][0], 1)
    for row, (number, _) in enumerate(pairs):
        if number != row + first:
            return (
                row,
                f"has the number {number}, and its place makes it class {row} ({lines[row]!r})",
                "Write the names alone, one a line, in the order of the values in the masks; "
                "convert masks whose values are not 0, 1, 2, ...",
            )
    return None
