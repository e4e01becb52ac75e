"""The lines of a `classes.txt`: names, or names and colours."""

from collections.abc import Sequence
from typing import NamedTuple

IGNORED = ("__ignore__", "_ignore_", "ignore")


class Named(NamedTuple):
    """A line with a colour."""

    name: str
    colour: tuple[int, int, int]


def named_colours(lines: Sequence[str]) -> list[Named] | None:
    """The lines `name r g b`; None unless all of them are such.

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
    """Whether a line of this name gives a colour of no class."""
    return name.lower() in IGNORED
