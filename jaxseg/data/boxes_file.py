"""Reads object proposals from a text file."""

from collections.abc import Callable, Mapping
from pathlib import Path

from jaxseg.data.crops import Box
from jaxseg.data.listing import read_lines
from jaxseg.errors import InputError

_FORMAT = (
    "Write `NAME left top right bottom`, in pixels from 0; right and bottom are the first column "
    "and row outside the box. Boxes must be inside their image; they are enlarged later."
)


def read_boxes(path: Path, size: Callable[[str], tuple[int, int] | None]) -> dict[str, list[Box]]:
    """Reads boxes from a text file with lines `NAME left top right bottom`, in pixels from 0.

    `right` and `bottom` are the first column and row outside the box. The boxes of an image are in
    the order of the file.

    Args:
      path: the file.
      size: returns the (height, width) of an image by name, or None for an image outside the data
        set, whose boxes are skipped.

    Returns:
      For each name, its boxes as (top, left, bottom, right).

    Raises:
      InputError: a line is malformed, or a box is empty, inverted or partly outside its image; the
        message names the line.
    """
    boxes: dict[str, list[Box]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for row, line in enumerate(read_lines(path)):
        words = line.rsplit(maxsplit=4)
        try:
            left, top, right, bottom = (int(word) for word in words[1:])
        except ValueError:
            raise _bad(path, row, line, "not a name with four whole numbers") from None
        if left >= right or top >= bottom:
            raise _bad(path, row, line, "a box without pixels")
        name = words[0]
        if name not in sizes:
            sizes[name] = size(name)
        shape = sizes[name]
        if shape is None:
            continue
        if left < 0 or top < 0 or right > shape[1] or bottom > shape[0]:
            raise _bad(path, row, line, f"but the image is {shape[1]} wide and {shape[0]} high")
        boxes.setdefault(name, []).append((top, left, bottom, right))
    return boxes


def read_boxes_of_all(path: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, list[Box]]:
    """`read_boxes` for images that must all have a box.

    Args:
      path: the file.
      sizes: the (height, width) of each image by name.

    Raises:
      InputError: as `read_boxes`, or an image has no box, for example because its name differs.
    """
    boxes = read_boxes(path, sizes.get)
    if missing := [name for name in sizes if name not in boxes]:
        first = next(iter(read_lines(path)), None)
        others = f" (nor of {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise InputError(
            f"{path} has no box for the image '{missing[0]}'{others}"
            + (": it is empty." if first is None else f"; its line 1 is '{first}'."),
            f"{_FORMAT} An image without proposals needs one box that covers it.",
        )
    return boxes


def _bad(path: Path, row: int, line: str, problem: str) -> InputError:
    return InputError(f"Line {row + 1} of {path} is '{line}', {problem}.", _FORMAT)
