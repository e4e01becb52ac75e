"""LabelMe JSON: a file next to each photo, or with an embedded photo."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from jaxseg.data.formats.kinds import check_kind
from jaxseg.data.formats.photos import Photos
from jaxseg.data.formats.polygons import Figure
from jaxseg.data.formats.shapes import (
    Annotated,
    Annotations,
    Region,
    Shape,
    check_inside,
    laid_at,
    points_of,
    problem_of,
    read_json,
    reading,
    size_of,
)
from jaxseg.data.inside import EmbeddedPhoto
from jaxseg.data.listing import PHOTO_SUFFIXES, Problem
from jaxseg.data.masks import read_stored
from jaxseg.errors import InputError
from jaxseg.utils.files import walk_files

LAYOUT = (
    "The folder must contain NAME.json from LabelMe, each beside its image or with the image "
    "embedded. The images and files of a split may be in a folder named after the split."
)
LINE_WIDTH, POINT_RADIUS = 10, 5  # pixels; the values of LabelMe's own masks
_LEAST = {
    "polygon": 3,
    "oriented_rectangle": 4,
    "rectangle": 2,
    "circle": 2,
    "line": 2,
    "linestrip": 2,
    "point": 1,
}
_SAVE = "Save it again in LabelMe."


@dataclass(frozen=True)
class Inside(EmbeddedPhoto):
    """The photo embedded in a LabelMe file."""

    file: Path

    def __fspath__(self) -> str:
        return str(self.file)

    def read_bytes(self) -> bytes:
        return _decoded(read_json(self.file, _SAVE).get("imageData"), f"The image in {self.file}")


@dataclass(frozen=True)
class Patch:
    """A LabelMe mask: a small PNG at (left, top)."""

    png: bytes
    left: int
    top: int
    where: str

    def mask(self, height: int, width: int) -> np.ndarray:
        patch = read_stored(self.where, self.png) > 0
        return laid_at(patch, self.left, self.top, height, width)


def read(config: ml_collections.ConfigDict, root: Path, split: str) -> Annotations:
    """Reads the images and shapes of all files in `root`, or in its subfolder `split`, if any.

    Raises:
      InputError: there is no such file.
    """
    found, names, photos = Annotations((), is_split=(root / split).is_dir()), set(), set()
    files = list(walk_files(root))
    for file in files:
        if file.suffix.lower() != ".json":
            continue
        is_ours = not found.is_split or file.is_relative_to(root / split)
        try:
            image = _image(root, file, found.problems if is_ours else [])
        except InputError as error:
            if is_ours:
                found.problems.append(problem_of("annotation", file, error))
            continue
        names |= {shape.name for shape in image.shapes}
        photos.add(image.photo)
        if is_ours:
            found.images.append(image)
    found.class_names = sorted(names)
    if not found.images and not found.problems:
        raise InputError(f"There is no LabelMe file in {root}.", LAYOUT)
    for path in files:
        if path.suffix.lower() in PHOTO_SUFFIXES and path not in photos:
            if not found.is_split or path.is_relative_to(root / split):
                _add_unlabelled(config, root, path, found)
    return found


def _add_unlabelled(config, root: Path, path: Path, found: Annotations) -> None:
    """Adds a photo without a file."""
    file = path.with_suffix(".json")
    if config.unannotated == "background":
        name = path.relative_to(root).with_suffix("").as_posix()
        found.images.append(Annotated(name, path, file, None))
    elif not file.is_file():  # otherwise the problem of that file says more
        found.problems.append(no_file(path, file))


def no_file(photo: Path, file: Path) -> Problem:
    """The problem of a photo without an annotation file."""
    return Problem(
        "unannotated",
        str(photo),
        f"{photo} has no annotations: there is no {file}.",
        "Annotate it or remove it. If it shows no objects, set "
        "config.data.unannotated='background'.",
    )


def _image(root: Path, file: Path, problems: list[Problem]) -> Annotated:
    """The image of a file; `problems` receives the problems of single shapes."""
    data = read_json(file, _SAVE)
    check_kind(data, file, "labelme")
    photo: Path | EmbeddedPhoto | None = None
    named = data.get("imagePath")
    if isinstance(named, str) and named:
        photo = Photos([file.parent]).find(named)
    if photo is None and data.get("imageData"):
        photo = Inside(file)
    if photo is None:
        raise InputError(
            f"{file} annotates the image {named!r}, which is neither beside it nor embedded.",
            "Put the image beside it.",
        )
    size = None
    if data.get("imageWidth") and data.get("imageHeight"):
        with reading(f"The size in {file}", _SAVE):
            size = size_of(data["imageWidth"], data["imageHeight"])
    shapes = []
    for number, entry in enumerate(data["shapes"], 1):
        where = f"Shape {number} of {file}"
        try:
            with reading(where, _SAVE):
                shapes.append(Shape(str(entry["label"]).strip(), _region(entry, size, where)))
        except InputError as error:
            problems.append(problem_of("annotation", file, error))
    name = file.relative_to(root).with_suffix("").as_posix()
    return Annotated(name, photo, file, size, tuple(shapes))


def _region(entry: Mapping[str, Any], size: tuple[int, int] | None, where: str) -> Region:
    kind = entry.get("shape_type") or "polygon"
    if kind == "mask":
        left, top = np.round(points_of(entry["points"], where, 2)).astype(int).min(0)
        return Patch(_decoded(entry["mask"], where), int(left), int(top), where)
    if kind == "points":
        kind = "point"
    if kind not in _LEAST:
        raise InputError(f"{where} is a '{kind}', which covers no pixels.", _SAVE)
    points = points_of(entry["points"], where, _LEAST[kind])
    if kind == "circle":
        radius = np.hypot(*(points[1] - points[0]))
        check_inside(np.stack([points[0] - radius, points[0] + radius]), size, where)
    else:
        check_inside(points, size, where)
    if kind == "point":
        return Figure("point", points, POINT_RADIUS)
    if kind in ("line", "linestrip"):
        return Figure("line", points, LINE_WIDTH)
    return Figure("polygon" if kind == "oriented_rectangle" else kind, points)


def _decoded(text: Any, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InputError(f"{where} is damaged ({error}).", _SAVE) from None
