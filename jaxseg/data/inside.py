"""Photos and masks that are not a single file: embedded in another, split into bands, or drawn."""

import os
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxseg.errors import InputError


class EmbeddedPhoto(os.PathLike):
    """A photo embedded in another file; its path is that of the file."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """Returns the content of the photo as a file of its own.

        Raises:
          InputError: the containing file cannot be read.
        """

    def __str__(self) -> str:
        return f"{self.__fspath__()} (the image inside)"


@dataclass(frozen=True)
class BandFiles(os.PathLike):
    """An image with bands in separate files; its path is that of the first file.

    Attributes:
      place: the common part of the paths: folder and name, without the ending of a band.
      files: one per band, in the order of the channels.
    """

    place: Path
    files: tuple[Path, ...]

    def __fspath__(self) -> str:
        return str(self.files[0])

    def __str__(self) -> str:
        more = len(self.files) - 1
        return f"{self.files[0]} (and {more} more band{'s' * (more != 1)})"


def not_one_band(file: Path, count: int) -> InputError:
    """The error for a file with `count` bands that should have one band of an image."""
    return InputError(
        f"{file} has {count} bands, but a file of config.data.band_suffixes holds one.",
        "Save each band alone, for example with gdal_translate -b N; files that hold all bands "
        "need no band_suffixes.",
    )


class DrawnMask(os.PathLike):
    """A mask drawn from an annotation file; its path is that of the file."""

    @abstractmethod
    def draw(self) -> np.ndarray:
        """Draws the classes, uint8 [H, W]: 0..C-1 or 255 (ignore).

        Raises:
          InputError: the annotations cannot be drawn.
        """

    @abstractmethod
    def objects(self) -> np.ndarray:
        """Draws the object numbers, uint16 [H, W]; 0: no object. 255 (a border in VOC) is unused.

        Raises:
          InputError: as `draw`.
        """
