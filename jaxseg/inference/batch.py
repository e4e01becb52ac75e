"""Predictions of many photographs, told top to bottom: read, ask the network, write, go on."""

import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import jax
import ml_collections
import numpy as np
from PIL import Image

from jaxseg.config import flatten
from jaxseg.data import DataInfo, read_image
from jaxseg.data.decode import read_size
from jaxseg.errors import InputError
from jaxseg.inference import protocol
from jaxseg.inference.image_files import Photograph
from jaxseg.inference.network import Network
from jaxseg.utils.paths import given_path
from jaxseg.visualization.palette import colorize, palette_image
from jaxseg.visualization.panel import legend

DESCRIPTION = "classes"  # the name of the files that describe the results
MAX_PIXELS = 2**23  # of a photograph that a network sees whole
UNUSED = ("every_steps", "absent", "boundary")  # fields of `config.eval` that are about scores
_NO_MATTER = (*UNUSED, "batch_size", "pad_to")  # and those that change no prediction
_SIZES, _PAD_TO = 8, 64  # of more sizes than that, images are filled up: see `_protocol`
_AHEAD = 2  # photographs that are read while the network works
_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}  # of whole files


class Summary(NamedTuple):
    """What became of the photographs: numbers, and what was wrong with those that are bad."""

    written: int
    kept: int
    bad: list[InputError]


def predict_photographs(
    network: Network,
    photographs: Sequence[Photograph],
    out: str | os.PathLike,
    *,
    overlay: bool = False,
    probabilities: bool = False,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    say: Callable[[str], None] = print,
) -> Summary:
    """Labels photographs, a file or more for each, as the network's run is evaluated.

    In `out` stand NAME.png, the class of each pixel as an index with a palette; with `overlay`
    NAME.overlay.jpg, the photograph in its classes' colours; with `probabilities` NAME.npz, float32
    [H, W, C]; and, once, classes.json and classes.png: the classes and their colours, and where the
    network is from. All are of the photograph's size, upright as its EXIF says. A file is there
    whole or not at all, and what is there whole already is not made again, so that a broken-off
    call goes on where it was.

    Args:
      network: what `open_run` or `open_exported` gives.
      photographs: what `find_photographs` gives.
      out: the folder.
      overlay, probabilities: what to write beside the labels.
      overwrite: whether to make again what is there already.
      max_pixels: photographs of more are refused where the network would see them whole, or where
        the scores of all their classes are kept; of four times more where it sees windows of them.
      progress: is given an iterable and its length, and gives its items on; for a progress bar.
      say: prints a line about each one that is bad.

    Returns:
      How many were written and how many were there, and an error for each that is bad: no
      photograph, too large, or of a size that the network cannot take.

    Raises:
      InputError: `out` cannot be written, or holds predictions of another network; or the
        network's `eval` is wrong, such as a file of boxes that has none of some photograph.
    """
    folder = _Results(given_path(out), network, overlay, probabilities)
    folder.check(overwrite)
    inference = protocol(
        network.model, _protocol(network.eval, photographs), lambda: _sizes(photographs)
    )
    todo = [p for p in photographs if overwrite or not folder.has(p.name)]
    limit = _limit(network.eval, probabilities, max_pixels)
    bad = []
    for photograph, read in progress(_read_ahead(todo, limit), len(todo)):
        try:
            image, ask = read(), inference.named(photograph.name)
            likely = ask.probabilities(network.variables, image) if probabilities else None
            labels = (
                ask.labels(network.variables, image)
                if likely is None
                else likely.argmax(axis=-1).astype(np.uint8)
            )
        except (InputError, jax.errors.JaxRuntimeError) as error:
            bad.append(_named(error, photograph))
            say(bad[-1].problem)
            continue
        folder.write(photograph.name, image, labels, likely)
    return Summary(len(todo) - len(bad), len(photographs) - len(todo), bad)


def _protocol(
    config: ml_collections.ConfigDict, photographs: Iterable[Photograph]
) -> ml_collections.ConfigDict:
    """The protocol, which is compiled for a bounded number of sizes however many there are.

    What is seen whole and at its own size is filled up to multiples of 64, unless there are few
    sizes: no logit changes but by the rounding of sums in another order.
    """
    if config.protocol != "whole" or config.input_size or config.pad_to:
        return config
    sizes: set[tuple[int, int]] = set()
    for photograph in photographs:
        with contextlib.suppress(InputError):  # it is told when the pixels are read
            sizes.add(read_size(photograph.path, photograph.data))
        if len(sizes) > _SIZES:
            config = config.copy_and_resolve_references()
            config.pad_to = _PAD_TO
            return config
    return config


def _sizes(photographs: Iterable[Photograph]) -> dict[str, tuple[int, int]]:
    """The (height, width) of each by name, upright; without those that cannot be read at all."""
    sizes = {}
    for photograph in photographs:
        with contextlib.suppress(InputError):  # it is told when the pixels are read
            sizes[photograph.name] = read_size(photograph.path, photograph.data, upright=True)
    return sizes


class _Limit(NamedTuple):
    """Pixels of the largest photograph that is taken (None: as many as can be decoded)."""

    pixels: int | None
    remedy: str  # where it is larger


def _limit(config: ml_collections.ConfigDict, probabilities: bool, pixels: int) -> _Limit:
    if config.protocol == "whole" and not config.input_size:
        return _Limit(
            pixels,
            "Scale it down, give the size that the network is to see "
            "(--config.eval.input_size='(HEIGHT, WIDTH)'), or raise --max-pixels: the published "
            "networks take about 1 KB of memory a pixel.",
        )
    if probabilities or config.get("ensemble") or config.get("crf"):
        return _Limit(
            pixels,
            "Scale it down, or raise --max-pixels: with --probabilities, an ensemble or a CRF the "
            "scores of all classes are kept, 4 bytes a class and pixel.",
        )
    if config.protocol != "whole":
        return _Limit(4 * pixels, "Scale it down, or raise --max-pixels.")
    return _Limit(None, "")


def _read_ahead(
    photographs: Iterable[Photograph], limit: _Limit
) -> Iterator[tuple[Photograph, Callable[[], np.ndarray]]]:
    """Each photograph, with what returns its pixels or raises why there are none."""
    with concurrent.futures.ThreadPoolExecutor(_AHEAD) as pool:
        waiting: collections.deque = collections.deque()
        for photograph in photographs:
            waiting.append((photograph, pool.submit(_read, photograph, limit).result))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting


def _read(photograph: Photograph, limit: _Limit) -> np.ndarray:
    height, width = read_size(photograph.path, photograph.data)
    if limit.pixels is not None and height * width > limit.pixels:
        raise InputError(
            f"{photograph.path} is {width} wide and {height} high: {height * width:,} pixels, "
            f"where no more than {limit.pixels:,} are taken.",
            limit.remedy,
        )
    return read_image(photograph.path, photograph.data, upright=True)


def _named(error: InputError | jax.errors.JaxRuntimeError, photograph: Photograph) -> InputError:
    """The error, naming the photograph. One of the device that is not about memory is raised."""
    if isinstance(error, InputError):
        if str(photograph.path) in error.problem:
            return error
        return InputError(f"{photograph.path}: {error.problem}", error.remedy)
    if "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    return InputError(
        f"{photograph.path} is too large for the memory of the device.",
        "Scale it down, or give the size that the network is to see "
        "(--config.eval.input_size='(HEIGHT, WIDTH)').",
    )


class _Results:
    """The folder that predictions are written to."""

    def __init__(self, path: pathlib.Path, network: Network, overlay: bool, probabilities: bool):
        self._path, self._info = path, network.info
        self._suffixes = (".png", *[".overlay.jpg"] * overlay, *[".npz"] * probabilities)
        self._described = False
        self._about = {
            **network.origin,
            "eval": {k: v for k, v in flatten(network.eval).items() if k not in _NO_MATTER},
            "class_names": network.info.class_names,
            "palette": network.info.palette,
        }

    def check(self, overwrite: bool) -> None:
        """Raises InputError where predictions of another network stand here."""
        path = self._path / f"{DESCRIPTION}.json"
        try:
            there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except (OSError, ValueError, RecursionError):
            there = {}
        self._described = there == json.loads(json.dumps(self._about))
        if there is not None and not self._described and not overwrite:
            raise InputError(
                f"{self._path} holds predictions of another network, step or size: see {path}.",
                "Give another --out, or --overwrite to make them again.",
            )

    def has(self, name: str) -> bool:
        """Whether all that is wanted of a photograph is there, whole."""
        return all(_is_whole(self._path / f"{name}{suffix}") for suffix in self._suffixes)

    def write(self, name: str, image: np.ndarray, labels: np.ndarray, likely: np.ndarray | None):
        """Writes what is wanted of a photograph; the labels last."""
        contents = {
            ".npz": lambda file: np.savez_compressed(
                file, probabilities=likely, class_names=np.array(self._info.class_names)
            ),
            ".overlay.jpg": lambda file: _overlay(image, labels, self._info).save(
                file, "JPEG", quality=90
            ),
            ".png": lambda file: palette_image(labels, self._info).save(file, "PNG"),
        }
        self._describe()
        for suffix, content in contents.items():
            if suffix in self._suffixes:
                self._put(f"{name}{suffix}", content)

    def _describe(self) -> None:
        """Writes what the predictions are of, before the first of them."""
        if self._described:
            return
        about = (json.dumps(self._about) + "\n").encode()
        self._put(f"{DESCRIPTION}.json", lambda file: file.write(about))
        page = legend(self._info, 640, errors=False)
        self._put(f"{DESCRIPTION}.png", lambda file: page.save(file, "PNG"))
        self._described = True

    def _put(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        """Writes a file: whole or not at all."""
        path = self._path / name
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                write(file)
            unfinished.replace(path)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written: {error.strerror or error}.",
                "Give an --out that you may write to, on a disk with room.",
            ) from None
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink()


def _is_whole(path: pathlib.Path) -> bool:
    if path.suffix == ".npz":
        return zipfile.is_zipfile(path)
    end = _ENDS[path.suffix]
    try:
        with path.open("rb") as file:
            file.seek(-len(end), os.SEEK_END)
            return file.read() == end
    except OSError:  # there is none, or it is empty
        return False


def _overlay(image: np.ndarray, labels: np.ndarray, info: DataInfo) -> Image.Image:
    return Image.blend(Image.fromarray(image), Image.fromarray(colorize(labels, info)), 0.5)
