"""Draws a mask from the shapes of an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxseg.data.decode import read_size
from jaxseg.data.formats.shapes import Region
from jaxseg.data.image_file import check_size
from jaxseg.data.inside import BandFiles, DrawnMask, EmbeddedPhoto

OVERLAPS = ("file", "size")


@dataclass(frozen=True)
class Drawing(DrawnMask):
    """The mask of an image's shapes.

    Args:
      file: the annotation file.
      photo: the image.
      size: (height, width) of the canvas; None: that of the upright photo.
      shapes: (class or 255, region, whether it is a crowd), the lowest first.
      unlabelled: class of pixels without a shape, or 255.
      overlap: "file": the later of two overlapping shapes is visible; "size": the smaller one. In
        both cases, crowds are below all other shapes.
    """

    file: Path
    photo: Path | EmbeddedPhoto | BandFiles
    size: tuple[int, int] | None
    shapes: Sequence[tuple[int, Region, bool]]
    unlabelled: int
    overlap: str = "file"

    def __fspath__(self) -> str:
        return str(self.file)

    def __str__(self) -> str:
        return f"{self.file} (the annotations of {self.photo})"

    def draw(self) -> np.ndarray:
        height, width = self._size()
        label = np.full((height, width), self.unlabelled, np.uint8)
        for value, mask in self._layers(height, width):
            label[mask] = value
        return label

    def objects(self) -> np.ndarray:
        height, width = self._size()
        numbers = np.zeros((height, width), np.uint16)
        for number, (_, mask) in enumerate(self._layers(height, width, crowds=False), 1):
            numbers[mask] = number + (number >= 255)
        return numbers

    def _size(self) -> tuple[int, int]:
        height, width = self.size or read_size(self.photo)
        check_size(self, width, height)
        return height, width

    def _layers(self, height: int, width: int, crowds: bool = True):
        """(class, mask) of each shape, the lowest first."""
        layers = [
            (value, region.mask(height, width), crowd)
            for value, region, crowd in self.shapes
            if crowds or not crowd
        ]
        if self.overlap == "size":
            layers.sort(key=lambda layer: -int(layer[1].sum()))
        layers.sort(key=lambda layer: not layer[2])
        return [layer[:2] for layer in layers]
