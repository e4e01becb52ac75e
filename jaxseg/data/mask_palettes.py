"""Detects contradicting palettes of masks, which arise if files were converted separately.

A tool that converts colours to a palette image may number them differently in every file. An index
is then a different class in each file, although no single file is wrong.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxseg.errors import InputError

_Colour = tuple[int, int, int]


class _Seen(NamedTuple):
    key: int | _Colour
    file: str


class Palettes:
    """Collects the colours of the indices in a data set's masks, and detects contradictions."""

    def __init__(self) -> None:
        self._files = 0
        self._tables: set[bytes] = set()
        self._colours: dict[int, _Seen] = {}  # colour of an index in its first file
        self._indices: dict[_Colour, _Seen] = {}
        self._recoloured: str | None = None
        self._moved: str | None = None

    def add(
        self, file: str | os.PathLike, present: Iterable[int], palette: np.ndarray | None
    ) -> None:
        """Adds a mask.

        Args:
          file: path of the mask.
          present: the indices that occur in it.
          palette: from `jaxseg.data.masks.palette_of`.
        """
        if palette is None:
            return
        name = os.fspath(file)
        self._files += 1
        self._tables.add(palette.tobytes())
        colours: dict[int, _Colour] = {}
        for index in present:
            red, green, blue = palette[index].tolist()
            colours[index] = (red, green, blue)
        for index, colour in colours.items():
            first = self._colours.setdefault(index, _Seen(colour, name))
            if first.key != colour and self._recoloured is None:
                self._recoloured = (
                    f"Index {index} is {first.key} in {first.file}, but {colour} in {name}."
                )
            if list(colours.values()).count(colour) > 1:
                continue  # for example the end of a short palette
            before = self._indices.setdefault(colour, _Seen(index, name))
            if before.key != index and self._moved is None:
                self._moved = (
                    f"The colour {colour} is index {before.key} in {before.file}, but index "
                    f"{index} in {name}."
                )

    @property
    def conflict(self) -> InputError | None:
        """An error that names two masks with different colours for one index; None if none."""
        problem = self._moved or self._recoloured
        if self._recoloured is None or problem is None:
            return None
        return InputError(
            problem,
            "Convert all masks with one table from class colours to indices, and save 8-bit grey "
            "PNGs of indices.",
        )

    @property
    def certain(self) -> bool:
        """Whether the indices were renumbered; otherwise two tools may have different palettes."""
        numbered = self._moved is not None and self._recoloured is not None
        return numbered and (len(self._tables) > 2 or len(self._tables) == self._files)
