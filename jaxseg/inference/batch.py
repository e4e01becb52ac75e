"""Predictions for many images: reads each image, applies the network, and writes the result."""

import collections
import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from jaxseg.data import read_image
from jaxseg.data.decode import read_size
from jaxseg.errors import InputError
from jaxseg.inference import protocol
from jaxseg.inference.image_files import ImageFile
from jaxseg.inference.network import Network
from jaxseg.inference.prediction_folder import PredictionFolder, photo_mark
from jaxseg.ops.byte_labels import byte_labels
from jaxseg.utils.exhausted import full_memory, memory_is_full
from jaxseg.utils.image_kind import ImageKind
from jaxseg.utils.paths import given_path

MAX_PIXELS = 2**23  # limit for an image that the network processes whole
_SIZES, _PAD_TO = 8, 64  # with more sizes than that, images are padded: see `_protocol`
_AHEAD = 2  # number of images read ahead


class Summary(NamedTuple):
    """Number of images labelled and number of existing results, and an error for each bad image."""

    written: int
    kept: int
    bad: list[InputError]


def predict_images(
    network: Network,
    files: Sequence[ImageFile],
    out: str | os.PathLike,
    *,
    overlay: bool = False,
    probabilities: bool = False,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    say: Callable[[str], None] = print,
) -> Summary:
    """Labels images by the protocol of the network's run.

    `out` receives NAME.png, the class index of each pixel with a palette; with `overlay`,
    NAME.overlay.jpg, the image in the colours of its classes; with `probabilities`, NAME.npz,
    float32 [H, W, C]; and, once, classes.json and classes.png: the classes, their colours, and the
    network. All results have the size of the image, upright by its EXIF orientation. Writes are
    atomic, and complete results are kept, so that an interrupted call can be resumed.

    Args:
      network: from `jaxseg.load`.
      files: from `find_images`.
      out: the output folder.
      overlay, probabilities: whether to write these files in addition to the labels.
      overwrite: whether to replace existing results.
      max_pixels: limit on the size of images that the network processes whole, and of images with
        probabilities of all classes; four times as many pixels are allowed for windows.
      progress: wraps an iterable, given its length; for a progress bar.
      say: prints a line about each bad image.

    Returns:
      The number of images labelled and of existing results, and an error for each bad file: not an
      image, too large, or of a size that the network does not support.

    Raises:
      InputError: `out` cannot be written, or contains predictions of another network; or the
        network's `eval` is invalid, such as a file of boxes that lacks an image.
    """
    folder = PredictionFolder(given_path(out), network, overlay, probabilities)
    folder.check(overwrite)
    inference = protocol(network.model, _protocol(network.eval, files), lambda: _sizes(files))
    todo = [file for file in files if overwrite or not folder.has(file.name)]
    limit = _limit(network.eval, probabilities, max_pixels)
    bad = _others(folder, files, todo)
    for error in bad:
        say(error.problem)
    others = len(bad)
    for file, read in progress(_read_ahead(todo, limit, network.model.kind), len(todo)):
        try:
            image, ask = read(), inference.named(file.name)
            likely = ask.probabilities(network.variables, image) if probabilities else None
            labels = ask.labels(network.variables, image) if likely is None else byte_labels(likely)
        except (InputError, jax.errors.JaxRuntimeError, MemoryError) as error:
            bad.append(_named(error, file))
            say(bad[-1].problem)
            continue
        folder.write(file.name, image, labels, likely, photo_mark(file.path, file.data))
    return Summary(len(todo) - (len(bad) - others), len(files) - len(todo) - others, bad)


def _others(
    folder: PredictionFolder, files: Sequence[ImageFile], todo: Sequence[ImageFile]
) -> list[InputError]:
    """An error for each file whose results exist, but belong to another photo."""
    names = {file.name for file in todo}
    return [
        InputError(
            f"{file.path}: the labels of that name are of another photo, or of an older state.",
            "Give another --out, or --overwrite to replace them.",
        )
        for file in files
        if file.name not in names and not folder.is_of(file.name, photo_mark(file.path, file.data))
    ]


def _protocol(
    config: ml_collections.ConfigDict, files: Iterable[ImageFile]
) -> ml_collections.ConfigDict:
    """The protocol, changed so that it is compiled for a limited number of image sizes.

    Images that are processed whole at their own size are padded to multiples of 64, unless there
    are few sizes. Logits change only by the rounding of sums in another order.
    """
    if config.protocol != "whole" or config.input_size or config.fit or config.pad_to:
        return config
    sizes: set[tuple[int, int]] = set()
    for file in files:
        with contextlib.suppress(InputError):  # reported when the pixels are read
            sizes.add(read_size(file.path, file.data))
        if len(sizes) > _SIZES:
            config = config.copy_and_resolve_references()
            config.pad_to = _PAD_TO
            return config
    return config


def _sizes(files: Iterable[ImageFile]) -> dict[str, tuple[int, int]]:
    """The upright (height, width) of each image by name, without unreadable images."""
    sizes = {}
    for file in files:
        with contextlib.suppress(InputError):  # reported when the pixels are read
            sizes[file.name] = read_size(file.path, file.data)
    return sizes


class _Limit(NamedTuple):
    """The maximum number of pixels of an image (None: any image that can be decoded)."""

    pixels: int | None
    remedy: str  # for larger images


def _limit(config: ml_collections.ConfigDict, probabilities: bool, pixels: int) -> _Limit:
    if config.protocol == "whole" and not (config.input_size or config.fit):
        return _Limit(
            pixels,
            "Scale it down, set the input size of the network "
            "(--config.eval.input_size='(HEIGHT, WIDTH)'), or raise --max-pixels; the published "
            "networks need about 1 KB of memory per pixel.",
        )
    if probabilities or config.get("ensemble") or config.get("crf"):
        return _Limit(
            pixels,
            "Scale it down, or raise --max-pixels; with --probabilities, an ensemble or a CRF "
            "the probabilities of all classes are stored, 4 bytes per class and pixel.",
        )
    if config.protocol != "whole":
        return _Limit(4 * pixels, "Scale it down, or raise --max-pixels.")
    return _Limit(None, "")


def _read_ahead(
    files: Iterable[ImageFile], limit: _Limit, kind: ImageKind
) -> Iterator[tuple[ImageFile, Callable[[], np.ndarray]]]:
    """Yields each file, with a function that returns its pixels or raises its error."""
    with concurrent.futures.ThreadPoolExecutor(_AHEAD) as pool:
        waiting: collections.deque = collections.deque()
        for file in files:
            waiting.append((file, pool.submit(_read, file, limit, kind).result))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting


def _read(file: ImageFile, limit: _Limit, kind: ImageKind) -> np.ndarray:
    height, width = read_size(file.path, file.data)
    if limit.pixels is not None and height * width > limit.pixels:
        raise InputError(
            f"{file.path} is {width} wide and {height} high: {height * width:,} pixels, but the "
            f"limit is {limit.pixels:,}.",
            limit.remedy,
        )
    return read_image(file.path, file.data, kind)


def _named(error: Exception, file: ImageFile) -> InputError:
    """The error with the name of the file. Errors of the device other than memory are raised."""
    if isinstance(error, InputError):
        if str(file.path) in error.problem:
            return error
        return InputError(f"{file.path}: {error.problem}", error.remedy)
    if not memory_is_full(error):
        raise error
    return full_memory(
        error,
        f"{file.path} is too large for memory: it",
        "Scale it down, or set the input size of the network (--config.eval.input_size='(HEIGHT, "
        "WIDTH)').",
    )
