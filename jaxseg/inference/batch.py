"""Predictions of many images, told top to bottom: read, ask the network, write, go on."""

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
from jaxseg.utils.exhausted import full_memory, memory_is_full
from jaxseg.utils.image_kind import ImageKind
from jaxseg.utils.paths import given_path

MAX_PIXELS = 2**23  # of an image that a network sees whole
_SIZES, _PAD_TO = 8, 64  # of more sizes than that, images are filled up: see `_protocol`
_AHEAD = 2  # images that are read while the network works


class Summary(NamedTuple):
    """How many images were labelled, how many were there already, and an error for each bad one."""

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
    """Labels images, by the protocol of the network's run.

    In `out` stand NAME.png, the class of each pixel as an index with a palette; with `overlay`
    NAME.overlay.jpg, the image in its classes' colours; with `probabilities` NAME.npz, float32
    [H, W, C]; and, once, classes.json and classes.png: the classes, their colours, and the network.
    All have the image's size, upright by its EXIF. Writes are atomic, and a file that is whole is
    not made again, so a broken-off call goes on where it was.

    Args:
      network: of `jaxseg.load`.
      files: of `find_images`.
      out: the folder.
      overlay, probabilities: the files to write beside the labels.
      overwrite: whether to make again the files that are there.
      max_pixels: larger images are refused where the network would see them whole, or where the
        probabilities of all classes are kept; four times more are taken where it sees windows.
      progress: is given an iterable and its length, and gives its items on; for a progress bar.
      say: prints a line about each bad one.

    Returns:
      How many were written and how many were there, and an error for each bad file: one that is no
      image, too large, or of a size that the network cannot take.

    Raises:
      InputError: `out` cannot be written, or holds predictions of another network; or the
        network's `eval` is wrong, such as a file of boxes that lacks an image.
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
            labels = (
                ask.labels(network.variables, image)
                if likely is None
                else likely.argmax(axis=-1).astype(np.uint8)
            )
        except (InputError, jax.errors.JaxRuntimeError, MemoryError) as error:
            bad.append(_named(error, file))
            say(bad[-1].problem)
            continue
        folder.write(file.name, image, labels, likely, photo_mark(file.path, file.data))
    return Summary(len(todo) - (len(bad) - others), len(files) - len(todo) - others, bad)


def _others(
    folder: PredictionFolder, files: Sequence[ImageFile], todo: Sequence[ImageFile]
) -> list[InputError]:
    """An error for each file whose name the folder has given to another photo's labels."""
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
    """The protocol, which is compiled for a bounded number of sizes however many there are.

    Images that are seen whole and at their own size are filled up to multiples of 64, unless there
    are few sizes: no logit changes but by the rounding of sums in another order.
    """
    if config.protocol != "whole" or config.input_size or config.fit or config.pad_to:
        return config
    sizes: set[tuple[int, int]] = set()
    for file in files:
        with contextlib.suppress(InputError):  # it is told when the pixels are read
            sizes.add(read_size(file.path, file.data))
        if len(sizes) > _SIZES:
            config = config.copy_and_resolve_references()
            config.pad_to = _PAD_TO
            return config
    return config


def _sizes(files: Iterable[ImageFile]) -> dict[str, tuple[int, int]]:
    """The (height, width) of each by name, upright; without those that cannot be read at all."""
    sizes = {}
    for file in files:
        with contextlib.suppress(InputError):  # it is told when the pixels are read
            sizes[file.name] = read_size(file.path, file.data)
    return sizes


class _Limit(NamedTuple):
    """Pixels of the largest image that is taken (None: as many as can be decoded)."""

    pixels: int | None
    remedy: str  # where it is larger


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
    """Each file, with a function that returns its pixels or raises why there are none."""
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
    """The error, naming the file. An error of the device that is not about memory is raised."""
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
