"""COCO's panoptic PNGs: the colour of a pixel is the id of its segment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxseg.data.images import read_image
from jaxseg.data.inside import DrawnMask
from jaxseg.data.source import IGNORE
from jaxseg.errors import InputError

_REMEDY = "Export the PNGs and the JSON again, together."


@dataclass(frozen=True)
class Panoptic(DrawnMask):
    """The mask of a panoptic PNG.

    Args:
      file: the JSON file.
      png: the PNG file.
      segments: the class of each segment by id, or 255.
    """

    file: Path
    png: Path
    segments: Mapping[int, int]

    def __fspath__(self) -> str:
        return str(self.png)

    def __str__(self) -> str:
        return str(self.png)

    def draw(self) -> np.ndarray:
        return self._painted(list(self.segments.values()), np.uint8)

    def objects(self) -> np.ndarray:
        numbers = [n + (n >= IGNORE) for n in range(1, len(self.segments) + 1)]
        found = self._painted(numbers, np.uint16)
        return np.where(found == IGNORE, 0, found).astype(np.uint16)

    def _painted(self, values: Sequence[int], dtype) -> np.ndarray:
        pixels = read_image(self.png, checked=True).astype(np.uint32)
        ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
        present, places = np.unique(ids, return_inverse=True)
        table = dict(zip(self.segments, values, strict=True))
        # id 0 is void by definition
        unknown = [int(i) for i in present if i and int(i) not in table]
        if unknown:
            raise InputError(
                f"{self.png} contains the segment {unknown[0]}, which {self.file} does not list.",
                _REMEDY,
            )
        looked_up = np.array([table.get(int(i), IGNORE) for i in present], dtype)
        return looked_up[places].reshape(ids.shape)
