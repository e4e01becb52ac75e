"""Supervisely's JSON: a project of data sets, with a file per photo.

`meta.json` lists the classes in order. A bitmap is a PNG, compressed again by zlib, placed at its
origin; polygons have holes. Later shapes in a file cover earlier ones.
"""

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from PIL import Image

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
from jaxseg.data.image_file import MOST_PIXELS, check_png
from jaxseg.data.listing import PHOTO_SUFFIXES, Problem
from jaxseg.errors import InputError
from jaxseg.utils.files import walk_files

LAYOUT = (
    "The folder must contain meta.json and data sets, each with images in img/ and annotations "
    "in ann/NAME.jpg.json, as exported by Supervisely. A data set named after a split is used "
    "for that split."
)
_EXPORT = "Export the project again from Supervisely, as JSON with images."
_MOST_BYTES = 2**28  # limit on a bitmap after zlib decompression


class Outline(NamedTuple):
    """A polygon with holes, given by outlines; pixels on an outline belong to it."""

    exterior: np.ndarray
    holes: tuple[np.ndarray, ...]

    def mask(self, height: int, width: int) -> np.ndarray:
        filled = Figure("polygon", self.exterior).mask(height, width).copy()
        for hole in self.holes:
            filled &= ~Figure("polygon", hole).mask(height, width)
        return filled


@dataclass(frozen=True)
class Bitmap:
    """A small mask, placed at (left, top)."""

    data: str
    left: int
    top: int
    where: str

    def mask(self, height: int, width: int) -> np.ndarray:
        return laid_at(_bits(self.data, self.where), self.left, self.top, height, width)


def read(config: ml_collections.ConfigDict, root: Path, split: str) -> Annotations:
    """Reads the images and shapes of the data set `split`, or of all if there is none.

    Raises:
      InputError: there is no meta.json, or no annotation.
    """
    meta = root / "meta.json"
    if not meta.is_file():
        raise InputError(f"There is no {meta}.", LAYOUT)
    about = read_json(meta, _EXPORT)
    with reading(str(meta), _EXPORT):
        names = [str(entry["title"]) for entry in about["classes"]]
    is_split = (root / split / "ann").is_dir()
    folders = [root / split] if is_split else sorted(p.parent for p in root.rglob("ann"))
    found = Annotations(names, is_split=is_split)
    for folder in folders:
        prefix = "" if is_split or len(folders) == 1 else f"{folder.relative_to(root).as_posix()}/"
        _read_data_set(config, folder, prefix, found)
    if not found.images and not found.problems:
        raise InputError(f"There are no annotations in {root}.", LAYOUT)
    return found


def _read_data_set(config, folder: Path, prefix: str, found: Annotations) -> None:
    photos = {p.name: p for p in walk_files(folder / "img") if _is_photo(p)}
    for file in walk_files(folder / "ann"):
        if file.suffix != ".json":
            continue
        photo = photos.pop(file.stem, None)
        if photo is None:
            text = f"{file} annotates the image {folder / 'img' / file.stem}, which does not exist."
            remedy = "Export the project with its images, or remove the file."
            found.problems.append(Problem("no photo", str(file), text, remedy))
            continue
        try:
            found.images.append(_image(prefix + photo.stem, photo, file, found.problems))
        except InputError as error:
            found.problems.append(problem_of("annotation", file, error))
    for name, photo in sorted(photos.items()):
        file = folder / "ann" / f"{name}.json"
        if config.unannotated == "background":
            found.images.append(Annotated(prefix + photo.stem, photo, file, None))
        else:
            text = f"{photo} has no annotations: there is no {file}."
            remedy = (
                "Annotate it or remove it. If it shows no objects, set "
                "config.data.unannotated='background'."
            )
            found.problems.append(Problem("unannotated", str(photo), text, remedy))


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES


def _image(name: str, photo: Path, file: Path, problems: list[Problem]) -> Annotated:
    """The image of a file; `problems` receives the problems of single shapes."""
    data = read_json(file, _EXPORT)
    with reading(str(file), _EXPORT):
        size = size_of(data["size"]["width"], data["size"]["height"])
        objects = list(data["objects"])
    shapes = []
    for number, entry in enumerate(objects, 1):
        where = f"Object {number} of {file}"
        try:
            with reading(where, _EXPORT):
                shapes.append(Shape(str(entry["classTitle"]), _region(entry, size, where)))
        except InputError as error:
            problems.append(problem_of("annotation", file, error))
    return Annotated(name, photo, file, size, shapes)


def _region(entry: Mapping[str, Any], size: tuple[int, int], where: str) -> Region:
    kind = entry["geometryType"]
    if kind == "bitmap":
        left, top = entry["bitmap"]["origin"]
        data = entry["bitmap"]["data"]
        _bits(data, where)  # reports damage now, before training
        return Bitmap(data, int(left), int(top), where)
    if kind not in ("polygon", "rectangle"):
        raise InputError(
            f"{where} is a '{kind}', which covers no pixels.",
            "Draw it as a polygon or a bitmap, or remove it.",
        )
    exterior = points_of(entry["points"]["exterior"], where, 2 if kind == "rectangle" else 3)
    check_inside(exterior, size, where)
    if kind == "rectangle":
        return Figure("rectangle", exterior)
    holes = tuple(points_of(hole, where) for hole in entry["points"].get("interior", ()))
    return Outline(exterior, holes)


def _bits(data: str, where: str) -> np.ndarray:
    """A bitmap's pixels, bool [h, w]: where its PNG is opaque, or, without alpha, not black."""
    try:
        packed = zlib.decompressobj()
        png = packed.decompress(base64.b64decode(data, validate=False), _MOST_BYTES)
        if not packed.eof:
            raise ValueError("it is truncated or too large")
        check_png(png)
        with Image.open(BytesIO(png), formats=["PNG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError("it is too large")
            alpha = image.convert("RGBA").getchannel("A")
            bits = alpha if alpha.getextrema() != (255, 255) else image.convert("L")
            return np.asarray(bits) > 0
    except (binascii.Error, zlib.error, OSError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(f"{where} has a damaged bitmap ({error}).", _EXPORT) from None
