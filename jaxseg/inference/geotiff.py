"""Labels GeoTIFF scenes of any size, window by window, and writes GeoTIFFs.

Only one window is in memory at a time, so that scenes can have any size. A window includes a margin
around the pixels that it labels, so that neighbouring windows agree at their border.
"""

import os
import pathlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxseg.data.bands import as_kind
from jaxseg.data.inside import BandFiles
from jaxseg.data.several_images import several_images
from jaxseg.data.source import IGNORE, DataInfo
from jaxseg.errors import InputError
from jaxseg.inference.band_scenes import opened_bands
from jaxseg.inference.image_files import ImageFile
from jaxseg.inference.inference import Inference
from jaxseg.inference.network import Network
from jaxseg.inference.prediction_folder import PredictionFolder
from jaxseg.inference.protocols import protocol
from jaxseg.models.preprocessing import Preprocessing
from jaxseg.utils.image_kind import ImageKind
from jaxseg.utils.paths import given_path

WINDOW = 1024
"""Default number of rows and columns of a window."""
_CACHE = 64  # MB of GDAL's cache of decoded blocks
_RESIZES = ("input_size", "fit", "base_size")  # fields of `config.eval` that resize images


class Window(NamedTuple):
    """A part of a scene: slices of the rows and columns to read, and of those to label."""

    read: tuple[slice, slice]
    decided: tuple[slice, slice]


def windows(size: tuple[int, int], window: int) -> Iterator[Window]:
    """The windows of a scene, row by row; their labelled parts cover the scene exactly once.

    Args:
      size: (height, width) of the scene.
      window: rows and columns of each window; a smaller scene has one window of its own size. An
        eighth of a window on each side is margin, except at the edges of the scene.

    >>> [(w.read[1].start, w.read[1].stop) for w in windows((64, 150), 64)]
    [(0, 64), (40, 104), (86, 150), (86, 150)]
    >>> [(w.decided[1].start, w.decided[1].stop) for w in windows((64, 150), 64)]
    [(0, 48), (48, 96), (96, 144), (144, 150)]
    """
    for rows in _along(size[0], window):
        for columns in _along(size[1], window):
            yield Window((rows[0], columns[0]), (rows[1], columns[1]))


def _along(size: int, window: int) -> Iterator[tuple[slice, slice]]:
    if size <= window:
        yield slice(0, size), slice(0, size)
        return
    margin = window // 8
    for start in range(0, size, window - 2 * margin):
        first = min(max(start - margin, 0), size - window)
        yield slice(first, first + window), slice(start, min(start + window - 2 * margin, size))


def label_scenes(
    network: Network,
    files: Sequence[ImageFile],
    out: str | os.PathLike,
    *,
    window: int = WINDOW,
    overwrite: bool = False,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> tuple[int, int]:
    """Labels GeoTIFFs; `out`/NAME.tif has the size, georeference and CRS of its scene.

    Args:
      network: from `jaxseg.load`; it processes each window by its protocol.
      files: from `find_images`.
      out: the output folder; as in `predict_images`, with NAME.tif instead of NAME.png.
      window: rows and columns of a window, 64 or more.
      overwrite: whether to replace existing results.
      progress: wraps the windows of a scene, given their number.

    Returns:
      The number of scenes labelled, and the number of existing results.

    Raises:
      InputError: rasterio is not installed, a file is not a GeoTIFF or of another kind than the
        network needs, the protocol resizes images, or `out` cannot be written.
    """
    if window < 64:
        raise InputError(f"The window is {window} pixels.", f"Give 64 or more, such as {WINDOW}.")
    for field in _RESIZES:
        if network.eval[field] is not None:
            raise InputError(
                f"config.eval.{field} is {network.eval[field]}, which resizes images, but "
                "--geotiff must keep the pixels.",
                f"Set --config.eval.{field}=None.",
            )
    folder = PredictionFolder(given_path(out), network, overlay=False, probabilities=False)
    folder.check(overwrite)
    inference = protocol(network.model, network.eval)
    label = _labeller(inference, network.variables)
    done = 0
    for file in files:
        target = given_path(out) / f"{file.name}.tif"
        if target.is_file() and not overwrite:
            continue
        folder.describe()
        label_scene(
            file.path, target, label, network.info, network.model.preprocessing, window, progress
        )
        done += 1
    return done, len(files) - done


def _labeller(inference: Inference, variables: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: inference.labels(variables, pixels)


def label_scene(
    path: pathlib.Path | BandFiles,
    target: pathlib.Path,
    label: Callable[[np.ndarray], np.ndarray],
    info: DataInfo,
    images: Preprocessing,
    window: int = WINDOW,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> None:
    """Labels one GeoTIFF; the write is atomic.

    Pixels without data in a band (by the file's mask, its nodata value, or NaN) get the label 255.
    For the network, they have the mean colour.

    Args:
      path: the scene, or the files of its bands.
      target: the output file: uint8 in blocks, compressed, with the colours and names of classes.
      label: maps a window [H, W, C] to labels, uint8 [H, W].
      info: the classes.
      images: input of `label`: number of channels, dtype and mean colour.
      window: rows and columns of a window.
      progress: as in `label_scenes`.

    Raises:
      InputError: as `label_scenes`.
    """
    rasterio = _rasterio()
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}.unfinished.tif")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            warnings.catch_warnings(action="ignore", category=_unplaced(rasterio)),
            rasterio.Env(GDAL_CACHEMAX=_CACHE),
            _opened(rasterio, path) as scene,
        ):
            size = scene.height, scene.width
            bands = _bands(path, scene, images.channels)
            todo = list(windows(size, window))
            with rasterio.open(unfinished, "w", **_profile(scene)) as result:
                if scene.gcps[0]:
                    result.gcps = scene.gcps
                colours = enumerate(info.palette)
                result.write_colormap(1, {i: (*colour, 255) for i, colour in colours})
                result.update_tags(**{f"class_{i}": n for i, n in enumerate(info.class_names)})
                for part in progress(todo, len(todo)):
                    _label_window(path, scene, bands, result, part, label, images)
        unfinished.replace(target)
    except (rasterio.errors.RasterioError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise InputError(
            f"{path} cannot be labelled into {target} ({reason}).",
            "Give an undamaged GeoTIFF, and an --out on a disk with free space.",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _label_window(path, scene, bands, result, part: Window, label, images) -> None:
    """Reads and labels a window, and writes its labels."""
    where = _slices(part.read)
    has_data = (scene.read_masks(bands, window=where) != 0).all(axis=0)
    for alpha in sorted({*scene.indexes} - {*bands}):  # GDAL uses only some alpha bands as masks
        has_data &= scene.read(alpha, window=where) != 0
    pixels = np.moveaxis(scene.read(bands, window=where), 0, 2)
    if np.issubdtype(pixels.dtype, np.floating):
        has_data &= np.isfinite(pixels).all(axis=2)
    inside = tuple(
        slice(d.start - r.start, d.stop - r.start)
        for d, r in zip(part.decided, part.read, strict=True)
    )
    if has_data[inside].any():
        if not has_data.all():
            pixels[~has_data] = 0  # NaN would be rejected below
        kind = ImageKind(images.channels, {"uint8": 8, "uint16": 16}.get(images.dtype, 32))
        pixels = as_kind(pixels, False, kind, path)
        pixels[~has_data] = images.fill
        labels = np.where(has_data, label(pixels), IGNORE).astype(np.uint8)[inside]
    else:
        labels = np.full(has_data[inside].shape, IGNORE, np.uint8)
    result.write(labels, 1, window=_slices(part.decided))


def _unplaced(rasterio) -> type[Warning]:
    """The warning for a scene without georeference; its labels have none either."""
    return rasterio.errors.NotGeoreferencedWarning


def _slices(part: tuple[slice, slice]) -> Any:
    return _rasterio().windows.Window.from_slices(*part)


def _bands(path, scene, channels: int) -> list[int]:
    """The bands for the network, counted from 1: all except an alpha band."""
    bands = [i + 1 for i, what in enumerate(scene.colorinterp) if what.name != "alpha"]
    if len(bands) != channels:
        raise InputError(
            f"{path} has {len(bands)} bands, but the network needs {channels}.",
            "Use scenes with the bands that it was trained on, in the same order.",
        )
    return bands


def _profile(scene) -> dict[str, Any]:
    """The properties of the output file: those of the scene, and the storage format."""
    return {
        "driver": "GTiff",
        "height": scene.height,
        "width": scene.width,
        "count": 1,
        "dtype": "uint8",
        "nodata": IGNORE,
        "crs": scene.crs,
        "transform": scene.transform,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }


def _opened(rasterio, path: pathlib.Path | BandFiles) -> Any:
    if isinstance(path, BandFiles):
        return opened_bands(path, lambda file: _opened(rasterio, file))
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Correct the path.")
    try:
        scene = rasterio.open(path, driver="GTiff")
        if len(scene.subdatasets) > 1:
            scene.close()
            raise several_images(path, len(scene.subdatasets))
        return scene
    except rasterio.errors.RasterioIOError as error:
        raise InputError(
            f"{path} cannot be read as a GeoTIFF ({str(error).rstrip('.')}).",
            "Convert it with gdal_translate IN OUT.tif. For ordinary images, remove --geotiff.",
        ) from None


def _rasterio() -> Any:
    try:
        import rasterio
        import rasterio.windows
    except ImportError as error:
        raise InputError(
            f"GeoTIFFs need rasterio ({error}).", "pip install 'jaxseg[geo]'"
        ) from None
    return rasterio
