"""The common result of all annotation readers: images, and their shapes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxseg.data.image_file import read_regular
from jaxseg.data.inside import BandFiles, EmbeddedPhoto
from jaxseg.data.listing import Problem
from jaxseg.errors import InputError
from jaxseg.utils.access import reason, remedy_for
from jaxseg.utils.files import text_of

FARTHEST = 100_000  # pixels from the image's corner; larger coordinates count as mistakes


class Region(Protocol):
    """A part of an image."""

    def mask(self, height: int, width: int) -> np.ndarray:
        """The pixels of the region, bool [height, width]."""
        ...


def laid_at(part: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    """Places a mask, bool [h, w], at (left, top) of an image; parts outside are cut off.

    >>> laid_at(np.ones((2, 2), bool), -1, 1, 2, 3).astype(int).tolist()
    [[0, 0, 0], [1, 0, 0]]
    """
    filled = np.zeros((height, width), bool)
    part = part[max(-top, 0) :, max(-left, 0) :]
    top, left = max(top, 0), max(left, 0)
    part = part[: max(height - top, 0), : max(width - left, 0)]
    filled[top : top + part.shape[0], left : left + part.shape[1]] = part
    return filled


class Shape(NamedTuple):
    """A labelled part of an image."""

    name: str  # name of the class
    region: Region
    crowd: bool = False  # a loose outline of many objects, drawn below all others


@dataclass
class Annotated:
    """An image and its shapes."""

    name: str
    photo: Path | EmbeddedPhoto | BandFiles
    file: Path  # the annotation file
    size: tuple[int, int] | None  # (height, width) as annotated; None: that of the photo
    shapes: Sequence[Shape] = ()  # the lowest first
    png: Path | None = None  # for a panoptic image, which has segments instead of shapes
    segments: Mapping[int, str] = field(default_factory=dict)  # class of each segment by id


@dataclass
class Annotations:
    """The contents of a data set's annotation files."""

    class_names: Sequence[str]  # in the order of the format, otherwise alphabetical
    images: list[Annotated] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_split: bool = False  # whether it is a single split, and not the whole data set


def read_json(path: Path, remedy: str) -> Any:
    """Parses a JSON file.

    Raises:
      InputError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(text_of(read_regular(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as JSON ({reason(error)}).", remedy_for(error, remedy)
        ) from error


@contextmanager
def reading(where: str, remedy: str) -> Iterator[None]:
    """Turns the errors of parsing a malformed annotation into InputErrors that name it."""
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{where} lacks {error}.", remedy) from None
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(f"{where} is malformed ({error}).", remedy) from None


def problem_of(kind: str, file: str | Path, error: InputError) -> Problem:
    """Converts an error to a problem of a listing."""
    return Problem(kind, str(file), error.problem, error.remedy)


def size_of(width: Any, height: Any) -> tuple[int, int]:
    """Parses (height, width) from the values of a format.

    >>> size_of("640", 480.0)
    (480, 640)
    """
    size = int(float(height)), int(float(width))
    if not (0 < size[0] < 2**20 and 0 < size[1] < 2**20):
        raise ValueError(f"its image is {width} wide and {height} high")
    return size


def points_of(values: Any, where: str, least: int = 3) -> np.ndarray:
    """Parses points (x, y) in pixels, float64 [N, 2], from a list x, y, x, y, ... or of pairs.

    Raises:
      InputError: there are fewer than `least` points, or impossible coordinates.
    """
    flat = np.asarray(values, np.float64).ravel()
    if flat.size % 2:
        raise InputError(
            f"{where} has {flat.size} coordinates, an odd number.",
            "Write x and y of each point, or remove the shape.",
        )
    points = flat.reshape(-1, 2)
    if len(points) < least:
        raise InputError(
            f"{where} has {len(points)} point(s), but needs {least}.",
            "Draw it again in the tool, or remove it.",
        )
    if not np.isfinite(points).all() or np.abs(points).max() > FARTHEST:
        raise InputError(
            f"{where} has an impossible coordinate.",
            "Draw it again in the tool, or remove it.",
        )
    return points


def check_inside(points: np.ndarray, size: tuple[int, int] | None, where: str) -> None:
    """Raises InputError if the bounding box of the points is outside the image."""
    if size is None:
        return
    (left, top), (right, bottom) = points.min(0), points.max(0)
    if right < 0 or bottom < 0 or left > size[1] or top > size[0]:
        raise InputError(
            f"{where} is outside its image, which is {size[1]} wide and {size[0]} high.",
            "Check that it belongs to this image and that the image was not resized after "
            "labelling.",
        )
