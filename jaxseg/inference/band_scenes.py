"""Reads a scene whose bands are separate GeoTIFFs as one scene."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxseg.data.inside import BandFiles, not_one_band
from jaxseg.errors import InputError

_SAME = ("width", "height", "transform", "crs", "dtypes")


@contextmanager
def opened_bands(files: BandFiles, open_one: Callable[[Path], Any]) -> Iterator["BandScene"]:
    """Opens the scene of `files`; `open_one` opens a single file with rasterio."""
    with ExitStack() as stack:
        scenes = [stack.enter_context(open_one(file)) for file in files.files]
        yield BandScene(files.files, scenes)


class BandScene:
    """Single-band scenes combined, with those attributes of a rasterio scene that geotiff.py uses.

    Args:
      files: file names for messages.
      scenes: rasterio scenes, in the order of the bands.

    Raises:
      InputError: a file has several bands, or two files differ in size, location or dtype.
    """

    def __init__(self, files: Sequence[Path], scenes: Sequence[Any]):
        first = scenes[0]
        for file, scene in zip(files, scenes, strict=True):
            count = sum(what.name != "alpha" for what in scene.colorinterp)
            if count != 1:
                raise not_one_band(file, count)
            for name in _SAME:
                here, there = getattr(scene, name), getattr(first, name)
                if here != there:
                    raise InputError(
                        f"{file} and {files[0]}, bands of one scene, differ in {name}: {here} and "
                        f"{there}.",
                        "Bring them to one grid and type, such as by gdalwarp -tr -te -ot.",
                    )
        self._scenes = scenes
        self.width, self.height = first.width, first.height
        self.transform, self.crs, self.gcps = first.transform, first.crs, first.gcps
        self.colorinterp = [scene.colorinterp[0] for scene in scenes]
        self.indexes = tuple(range(1, len(scenes) + 1))

    def read(self, bands: Sequence[int], window: Any) -> np.ndarray:
        """Reads some bands in a window, [bands, H, W]."""
        return np.stack([self._scenes[band - 1].read(1, window=window) for band in bands])

    def read_masks(self, bands: Sequence[int], window: Any) -> np.ndarray:
        """Reads the masks of some bands, uint8 [bands, H, W]; 0: no data."""
        return np.stack([self._scenes[band - 1].read_masks(1, window=window) for band in bands])
