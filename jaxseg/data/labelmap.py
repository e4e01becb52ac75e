"""`labelmap.txt`, the classes and colours in VOC exports of CVAT and Datumaro."""

from pathlib import Path

from jaxseg.data.class_lines import Named
from jaxseg.data.colours import voc_palette
from jaxseg.data.listing import checked_names, read_lines
from jaxseg.errors import InputError

FILE = "labelmap.txt"


def read_labelmap(path: Path) -> list[Named]:
    """Reads the lines `name:r,g,b:parts:actions`, in the order of the classes.

    A class without a colour has that of its place in VOC's palette.

    Raises:
      InputError: a line is malformed, or there are fewer than two names; the message names it.
    """
    rows = [
        (row, line) for row, line in enumerate(read_lines(path), 1) if line[:1] not in ("", "#")
    ]
    found = []
    for (row, line), usual in zip(rows, voc_palette(len(rows)), strict=True):
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
