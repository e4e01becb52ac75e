"""Palettes of masks that contradict each other: each file was converted on its own.

Where a tool turns colours into a palette image, it may number them anew in every file: an index is
another class each time, and no single file is wrong.
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
    """The colours of the indices in the masks of a data set, and whether they agree."""

    def __init__(self) -> None:
        self._files = 0
        self._tables: set[bytes] = set()
        self._colours: dict[int, _Seen] = {}  # of an index, in the first file that has it
        self._indices: dict[_Colour, _Seen] = {}
        self._recoloured: str | None = None
        self._moved: str | None = None

    def add(
        self, file: str | os.PathLike, present: Iterable[int], palette: np.ndarray | None
    ) -> None:
        """Takes in a mask.

        Args:
          file: its path.
          present: the indices that occur in it.
          palette: as `jaxseg.data.masks.palette_of` gives it.
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
                continue  # the end of a palette that lacks colours, say
            before = self._indices.setdefault(colour, _Seen(index, name))
            if before.key != index and self._moved is None:
                self._moved = (
                    f"The colour {colour} is index {before.key} in {before.file}, but index "
                    f"{index} in {name}."
                )

    @property
    def conflict(self) -> InputError | None:
        """An error that names two masks, where an index has two colours; else None."""
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
        """Whether the indices themselves were numbered anew: not two tools with a palette each."""
        numbered = self._moved is not None and self._recoloured is not None
        return numbered and (len(self._tables) > 2 or len(self._tables) == self._files)
