"""`labelmap.txt`, the classes and colours in VOC exports of CVAT and Datumaro."""

from collections.abc import Callable
from pathlib import Path

from jaxseg.data.class_lines import Named
from jaxseg.data.listing import checked_names, read_lines
from jaxseg.errors import InputError

FILE = "labelmap.txt"

Colours = Callable[[int], tuple[tuple[int, int, int], ...]]


def read_labelmap(path: Path, colours: Colours) -> list[Named]:
    """Reads the lines `name:r,g,b:parts:actions`, in the order of the classes.

    Args:
      path: the file.
      colours: colours of classes without one, given the number of classes.

    Raises:
      InputError: a line is malformed, or there are fewer than two names; the message names it.
    """
    rows = [
        (row, line) for row, line in enumerate(read_lines(path), 1) if line[:1] not in ("", "#")
    ]
    found = []
    for (row, line), usual in zip(rows, colours(len(rows)), strict=True):
        name, _, rest = line.partition(":")
        numbers = rest.partition(":")[0].split(",")
        if numbers == [""]:
            found.append(Named(name.strip(), usual))
        elif len(numbers) == 3 and all(n.strip().isdecimal() and int(n) < 256 for n in numbers):
            red, green, blue = map(int, numbers)
            found.append(Named(name.strip(), (red, green, blue)))
        else:
            raise InputError(
                f"Line {row} of {path} is '{line}'.",
                "Write `name:r,g,b::`, each of r g b in 0..255.",
            )
    checked_names(path, [line.name for line in found])
    return found
