"""A scene whose bands are separate GeoTIFFs, read as one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxseg.data.inside import BandFiles
from jaxseg.errors import InputError

_SAME = ("width", "height", "transform", "crs", "dtypes")


@contextmanager
def opened_bands(files: BandFiles, open_one: Callable[[Path], Any]) -> Iterator["BandScene"]:
    """The scene of `files`, each of which `open_one` opens as rasterio does."""
    with ExitStack() as stack:
        scenes = [stack.enter_context(open_one(file)) for file in files.files]
        yield BandScene(files.files, scenes)


class BandScene:
    """Scenes of one band each, with what `jaxseg.inference.geotiff` uses of one of rasterio's.

    Args:
      files: for messages.
      scenes: of rasterio, in the order of the bands.

    Raises:
      InputError: a file holds several bands, or two differ in size, place or type.
    """

    def __init__(self, files: Sequence[Path], scenes: Sequence[Any]):
        first = scenes[0]
        for file, scene in zip(files, scenes, strict=True):
            count = sum(what.name != "alpha" for what in scene.colorinterp)
            if count != 1:
                raise InputError(
                    f"{file} has {count} bands, where a file of config.data.band_suffixes holds "
                    "one.",
                    "Save each band alone, such as by gdal_translate -b N.",
                )
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
        """The pixels of some bands in a window, [bands, H, W]."""
        return np.stack([self._scenes[band - 1].read(1, window=window) for band in bands])

    def read_masks(self, bands: Sequence[int], window: Any) -> np.ndarray:
        """Whether they have data, uint8 [bands, H, W]: 0 where they have none."""
        return np.stack([self._scenes[band - 1].read_masks(1, window=window) for band in bands])
