"""Photos and masks without a file of their own: inside another file, or drawn from its shapes."""

import os
from abc import abstractmethod

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
