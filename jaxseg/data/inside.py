"""Photos and masks without a file of their own: inside another file, in several, or drawn."""

import os
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class EmbeddedPhoto(os.PathLike):
    """A photo inside another file, whose path it has."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The photo, as a file of its own would hold it.

        Raises:
          InputError: the file around it cannot be read.
        """

    def __str__(self) -> str:
        return f"{self.__fspath__()} (the image inside)"


@dataclass(frozen=True)
class BandFiles(os.PathLike):
    """An image whose bands are separate files; as a path it is the first of them.

    Attributes:
      place: what the paths of the files have in common: folder and name, without a band's ending.
      files: one for each band, in the order of the channels.
    """

    place: Path
    files: tuple[Path, ...]

    def __fspath__(self) -> str:
        return str(self.files[0])

    def __str__(self) -> str:
        more = len(self.files) - 1
        return f"{self.files[0]} (and {more} more band{'s' * (more != 1)})"


class DrawnMask(os.PathLike):
    """A mask that is drawn from a file of annotations, whose path it has."""

    @abstractmethod
    def draw(self) -> np.ndarray:
        """Classes, uint8 [H, W]: 0..C-1 or 255 (ignore).

        Raises:
          InputError: the annotations cannot be drawn.
        """

    @abstractmethod
    def objects(self) -> np.ndarray:
        """Numbers of the objects, uint16 [H, W]; 0 is none. 255, a border elsewhere, is left out.

        Raises:
          InputError: as `draw`.
        """
