"""The folder of predictions: its files, and how they are written."""

import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import jax
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jaxseg.config import flatten
from jaxseg.errors import InputError
from jaxseg.inference.network import Network
from jaxseg.utils.access import reason
from jaxseg.utils.atomic import atomic_file
from jaxseg.visualization.palette import overlay, palette_image
from jaxseg.visualization.panel import legend

DESCRIPTION = "classes"  # name of the files that describe the results
UNUSED = ("every_steps", "absent", "boundary")  # fields of `config.eval` that concern metrics
_NO_MATTER = (*UNUSED, "batch_size", "pad_to")  # and fields that change no prediction
_PHOTO = "photo"  # key of the text in a label image that identifies its photo
_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}  # last bytes of complete files


_MARKED = 1 << 16  # bytes of a photo that its mark depends on


class PredictionFolder:
    """The output folder of predictions.

    Args:
      path: the folder.
      network: the network that predicts.
      overlay, probabilities: whether to write these files, as in `predict_images`.
    """

    def __init__(self, path: pathlib.Path, network: Network, overlay: bool, probabilities: bool):
        self._path, self._info = path, network.info
        self._suffixes = (".png", *[".overlay.jpg"] * overlay, *[".npz"] * probabilities)
        self._described = False
        self._about = {
            **network.origin,
            "eval": {k: v for k, v in flatten(network.eval).items() if k not in _NO_MATTER},
            "class_names": network.info.class_names,
            "palette": network.info.palette,
            "weights": _fingerprint(network.variables),
        }

    def check(self, overwrite: bool) -> None:
        """Raises InputError if the folder contains predictions of another network."""
        path = self._path / f"{DESCRIPTION}.json"
        try:
            there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except (OSError, ValueError, RecursionError):
            there = {}
        self._described = _same_network(there, json.loads(json.dumps(self._about)))
        if there is not None and not self._described and not overwrite:
            raise InputError(
                f"{self._path} contains predictions of another network, step or size: see {path}.",
                "Give another --out, or replace them with --overwrite.",
            )

    def has(self, name: str) -> bool:
        """Whether all files of an image exist and are complete."""
        return all(_is_whole(self._path / f"{name}{suffix}") for suffix in self._suffixes)

    def is_of(self, name: str, photo: str) -> bool:
        """Whether the labels of that name belong to this photo (a `photo_mark`), if known."""
        try:
            with Image.open(self._path / f"{name}.png", formats=["PNG"]) as labels:
                return not photo or labels.info.get(_PHOTO, photo) == photo
        except (OSError, ValueError, SyntaxError):  # a broken PNG
            return False

    def write(
        self,
        name: str,
        image: np.ndarray,
        labels: np.ndarray,
        likely: np.ndarray | None,
        photo: str = "",
    ) -> None:
        """Writes the files of an image, the labels last; they contain the mark of the photo."""
        about = PngInfo()
        if photo:
            about.add_text(_PHOTO, photo)
        contents = {
            ".npz": lambda file: np.savez_compressed(
                file, probabilities=likely, class_names=np.array(self._info.class_names)
            ),
            ".overlay.jpg": lambda file: Image.fromarray(overlay(image, labels, self._info)).save(
                file, "JPEG", quality=90
            ),
            ".png": lambda file: palette_image(labels, self._info).save(file, "PNG", pnginfo=about),
        }
        self.describe()
        for suffix, content in contents.items():
            if suffix in self._suffixes:
                self._put(f"{name}{suffix}", content)

    def describe(self) -> None:
        """Writes the description of the predictions; called before the first prediction."""
        if self._described:
            return
        about = (json.dumps(self._about) + "\n").encode()
        self._put(f"{DESCRIPTION}.json", lambda file: file.write(about))
        page = legend(self._info, 640, errors=False)
        self._put(f"{DESCRIPTION}.png", lambda file: page.save(file, "PNG"))
        self._described = True

    def _put(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        """Writes a file atomically."""
        path = self._path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                write(file)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written: {reason(error)}.",
                "Give an --out that you can write to, on a disk with free space.",
            ) from None


def photo_mark(path: str | os.PathLike, data: bytes | None = None) -> str:
    """Identifies a photo whatever its path: its size in bytes and a checksum of its start."""
    if data is None:
        try:
            with open(path, "rb") as file:
                size, data = os.fstat(file.fileno()).st_size, file.read(_MARKED)
        except (OSError, ValueError):  # reported when the pixels are read
            return ""
    else:
        size = len(data)
    return f"{size}-{zlib.crc32(data[:_MARKED]):08x}"


def _fingerprint(variables: Any) -> int:
    """A checksum of the start of every array, which identifies weights whatever their path."""
    checksum = 0
    for leaf in jax.tree.leaves(variables):
        checksum = zlib.crc32(np.asarray(leaf.reshape(-1)[:1024]).tobytes(), checksum)
    return checksum


def _same_network(there: Any, ours: dict[str, Any]) -> bool:
    """Whether two descriptions are of one network; it may have been moved or renamed."""
    if isinstance(there, dict) and "weights" in there:
        return {**there, "folder": None} == {**ours, "folder": None}
    return there == {key: value for key, value in ours.items() if key != "weights"}  # older format


def _is_whole(path: pathlib.Path) -> bool:
    if path.suffix == ".npz":
        return zipfile.is_zipfile(path)
    end = _ENDS[path.suffix]
    try:
        with path.open("rb") as file:
            file.seek(-len(end), os.SEEK_END)
            return file.read() == end
    except OSError:  # the file is missing or empty
        return False
