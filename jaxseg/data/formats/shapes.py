"""What every reader of annotations makes: images, and the shapes on them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxseg.data.inside import BandFiles, EmbeddedPhoto
from jaxseg.data.listing import Problem
from jaxseg.errors import InputError
from jaxseg.utils.files import text_of

FARTHEST = 100_000  # pixels from the image's corner: beyond it a coordinate is taken for a mistake


class Region(Protocol):
    """A part of an image."""

    def mask(self, height: int, width: int) -> np.ndarray:
        """Its pixels, bool [height, width]."""
        ...


def laid_at(part: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    """A mask, bool [h, w], laid at (left, top) of an image; what lies outside is cut off.

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

    name: str  # of its class
    region: Region
    crowd: bool = False  # a loose outline of many objects: it is laid below all others


@dataclass
class Annotated:
    """An image and its shapes."""

    name: str
    photo: Path | EmbeddedPhoto | BandFiles
    file: Path  # of the annotations
    size: tuple[int, int] | None  # (height, width) as annotated; None: the photo's own
    shapes: Sequence[Shape] = ()  # the lowest first
    png: Path | None = None  # of a panoptic image, which has segments in place of shapes
    segments: Mapping[int, str] = field(default_factory=dict)  # the class of each by its id


@dataclass
class Annotations:
    """The contents of a data set's files of annotations."""

    class_names: Sequence[str]  # in the order of the format, else in that of the alphabet
    images: list[Annotated] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_split: bool = False  # whether it is one split already, and not the whole data set


def read_json(path: Path, remedy: str) -> Any:
    """The contents of a JSON file.

    Raises:
      InputError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(text_of(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}).", remedy) from error


@contextmanager
def reading(where: str, remedy: str) -> Iterator[None]:
    """Turns the errors of taking apart a malformed annotation into InputErrors that name it."""
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{where} lacks {error}.", remedy) from None
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(f"{where} is malformed ({error}).", remedy) from None


def problem_of(kind: str, file: str | Path, error: InputError) -> Problem:
    """An error as a problem of a listing."""
    return Problem(kind, str(file), error.problem, error.remedy)


def size_of(width: Any, height: Any) -> tuple[int, int]:
    """(height, width) as a format has them.

    >>> size_of("640", 480.0)
    (480, 640)
    """
    size = int(float(height)), int(float(width))
    if not (0 < size[0] < 2**20 and 0 < size[1] < 2**20):
        raise ValueError(f"its image is {width} wide and {height} high")
    return size


def points_of(values: Any, where: str, least: int = 3) -> np.ndarray:
    """Points (x, y) in pixels, float64 [N, 2], of a list x, y, x, y, ... or of pairs.

    Raises:
      InputError: it has fewer than `least` points, or coordinates that no image has.
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
    """Raises InputError where no part of what lies between the points is in the image."""
    if size is None:
        return
    (left, top), (right, bottom) = points.min(0), points.max(0)
    if right < 0 or bottom < 0 or left > size[1] or top > size[0]:
        raise InputError(
            f"{where} is outside its image, which is {size[1]} wide and {size[0]} high.",
            "Check that it belongs to this image and that the image was not resized after "
            "labelling.",
        )
