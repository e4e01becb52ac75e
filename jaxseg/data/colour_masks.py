"""Coloured masks, with the colour of each class from `jaxseg.data.folder_classes`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxseg.data.class_lines import Named, is_ignored
from jaxseg.data.folder_classes import colour_lines
from jaxseg.data.source import IGNORE
from jaxseg.errors import InputError

_Colour = tuple[int, int, int]
_SHOWN = 6  # maximum number of unknown colours in a message


@dataclass(frozen=True)
class ColourTable:
    """Maps each colour of a mask to a stored value.

    Args:
      lines: the colours and their names, in the order of the file.
      values: the value of each, 0..255.
      tolerance: an unknown colour counts as the nearest known one if no channel differs by more.
    """

    lines: Sequence[Named]
    values: Sequence[int]
    tolerance: int = 0

    def stored(self, pixels: np.ndarray, path) -> np.ndarray:
        """Converts a coloured mask to values, uint8 [H, W].

        Args:
          pixels: uint8 [H, W, 3].
          path: path of the mask, for messages.

        Raises:
          InputError: a colour is not near a known one; the message lists colours, counts and the
            nearest classes.
        """
        codes = _codes(pixels)
        known = _codes(np.array([line.colour for line in self.lines], np.uint8))
        order = np.argsort(known)
        place = order[np.clip(np.searchsorted(known[order], codes), 0, len(known) - 1)]
        strange = known[place] != codes
        if strange.any():
            found, counts = np.unique(codes[strange], return_counts=True)
            nearest, distance = self._nearest(found)
            if (distance > self.tolerance).any():
                raise self._unknown(path, found, counts, nearest, distance, codes.size)
            place[strange] = nearest[np.searchsorted(found, codes[strange])]
        return np.array(self.values, np.uint8)[place]

    def _nearest(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest line for each colour, and the maximum difference over channels."""
        known = np.array([line.colour for line in self.lines], np.int32)
        nearest, distance = np.zeros(len(codes), np.int64), np.zeros(len(codes), np.int64)
        for begin in range(0, len(codes), 4096):
            part = slice(begin, begin + 4096)
            apart = np.abs(_channels(codes[part])[:, None] - known).max(-1)
            nearest[part], distance[part] = apart.argmin(1), apart.min(1)
        return nearest, distance

    def _unknown(self, path, codes, counts, nearest, distance, pixels: int) -> InputError:
        wrong = np.flatnonzero(distance > self.tolerance)
        wrong = wrong[np.argsort(-counts[wrong], kind="stable")]
        shown = "; ".join(
            f"{tuple(_channels(codes[i : i + 1])[0].tolist())} in {counts[i]:,} pixels, nearest "
            f"{_line_in_words(self.lines[nearest[i]])}"
            for i in wrong[:_SHOWN]
        )
        more = f"; and {len(wrong) - _SHOWN} more colours" if len(wrong) > _SHOWN else ""
        return InputError(
            f"Mask {path} has colours that belong to no class, in {int(counts[wrong].sum()):,} of "
            f"its {pixels:,} pixels: {shown}{more}.",
            "Add them to the colour file (use the name 'ignore' for unlabelled pixels). If JPEG "
            "compression or smoothing changed them, set config.data.colour_tolerance to the "
            "largest difference in a channel.",
        )


def _line_in_words(line: Named) -> str:
    return f"'{line.name}' {line.colour}" if line.name else str(line.colour)


def colour_table(
    root: Path,
    class_names: Sequence[str],
    tolerance: int = 0,
    values: dict[int, int] | None = None,
) -> tuple[ColourTable | None, dict[int, int] | None]:
    """The colours in the files of `root`; None if they define none, or only those of pictures.

    Args:
      root: folder of the data set.
      class_names: the classes, in order.
      tolerance: `config.data.colour_tolerance`.
      values: as in `read_mask`, for masks that store values.

    Returns:
      The table, and `values` with a value for ignored colours.

    Raises:
      InputError: two classes have the same colour.
    """
    file, lines = colour_lines(root)
    if file is None:
        return None, values
    seen: dict[_Colour, str] = {}
    for line in lines:
        if seen.setdefault(line.colour, line.name) != line.name:
            if file.name == "palette.txt":  # only for pictures
                return None, values
            raise InputError(
                f"The classes '{seen[line.colour]}' and '{line.name}' of {root} have the same "
                f"colour {line.colour}.",
                "Give each class its own colour.",
            )
    stored = {i: i for i in range(len(class_names))} | {IGNORE: IGNORE}
    if values is not None:
        if IGNORE not in values.values():
            values = {**values, 254: IGNORE}
        stored = {label: value for value, label in reversed(list(values.items()))}
    numbers = {name: i for i, name in enumerate(class_names)}
    if any(line.name in numbers for line in lines):
        found = [numbers.get(line.name, IGNORE) for line in lines]
    else:  # a palette without names or with other names: assigned by order
        classes = iter(range(len(class_names)))
        found = [IGNORE if is_ignored(line.name) else next(classes) for line in lines]
    return ColourTable(tuple(lines), tuple(stored[f] for f in found), tolerance), values


def _codes(pixels: np.ndarray) -> np.ndarray:
    wide = pixels.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _channels(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1).astype(np.int32)
