"""YOLO's segmentation text: a file per photo, a line per polygon, in fractions of the image.

A line is the number of a class and x y x y ..., each in 0..1. data.yaml has the names of the
classes and the folders of the splits. A photo without a file is not annotated; an empty file means
that it shows no objects.
"""

from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import yaml

from jaxseg.data.decode import read_size
from jaxseg.data.formats.labelme import no_file
from jaxseg.data.formats.polygons import Polygons
from jaxseg.data.formats.shapes import (
    Annotated,
    Annotations,
    Shape,
    check_inside,
    points_of,
    problem_of,
    reading,
)
from jaxseg.data.image_file import read_regular
from jaxseg.data.listing import PHOTO_SUFFIXES, Problem, read_lines
from jaxseg.errors import InputError
from jaxseg.utils.access import reason, remedy_for
from jaxseg.utils.files import text_of, walk_files
from jaxseg.utils.paths import given_path

LAYOUT = (
    "The folder must contain data.yaml (class names), images in images/SPLIT/ and polygons in "
    "labels/SPLIT/NAME.txt. To use another file than data.yaml, set config.data.annotations."
)
_EXPORT = "Export it again as YOLO segmentation."


def read(config: ml_collections.ConfigDict, root: Path, split: str) -> Annotations:
    """Reads the images and shapes of one split, or of all if images/ has no subfolders of splits.

    Raises:
      InputError: data.yaml or the folders are missing or malformed.
    """
    about, names = _read_yaml(config, root)
    folder = _folder(root, about, split)
    is_split, folder = folder is not None, folder or root / "images"
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", LAYOUT)
    found = Annotations(list(names.values()), is_split=is_split)
    labels = _labels(folder)
    without = {p.relative_to(labels).with_suffix("") for p in walk_files(labels)
               if p.suffix == ".txt" and p.name != "classes.txt"}  # fmt: skip
    for photo in walk_files(folder):
        if photo.suffix.lower() not in PHOTO_SUFFIXES:
            continue
        bare = photo.relative_to(folder).with_suffix("")
        without.discard(bare)
        file = labels / bare.parent / f"{bare.name}.txt"
        if file.is_file():
            try:
                found.images.append(_image(bare.as_posix(), photo, file, names, found))
            except InputError as error:
                found.problems.append(problem_of("photo", photo, error))
        elif config.unannotated == "background":
            found.images.append(Annotated(bare.as_posix(), photo, file, None))
        else:
            found.problems.append(no_file(photo, file))
    for bare in sorted(without):
        text = f"{labels / bare}.txt has no image in {folder}."
        found.problems.append(
            Problem("no photo", f"{labels / bare}.txt", text, "Add the image, or remove the file.")
        )
    return found


def _read_yaml(config, root: Path) -> tuple[dict[str, Any], dict[int, str]]:
    path = given_path(root / (config.annotations or "data.yaml"))
    try:
        about = yaml.safe_load(text_of(read_regular(path)))
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({reason(error)}).", remedy_for(error, LAYOUT)
        ) from error
    with reading(str(path), "Write the classes as names: [cat, dog] or names: {0: cat, 1: dog}."):
        names = about["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return about, dict(sorted((int(number), _name(name)) for number, name in pairs))


def _name(value: Any) -> str:
    """The name of a class; a list, which YAML can nest without end, is none."""
    if not isinstance(value, str | int | float):
        raise TypeError("a name is not a text")
    return str(value)


def _folder(root: Path, about: dict[str, Any], split: str) -> Path | None:
    """The folder of a split's photos; None if there are no folders of splits."""
    named = about.get(split)
    places = [root / "images" / split, root / split / "images"]
    if isinstance(named, str):
        # `path` is usually the location on another machine; root is the location here
        inside = named.replace("\\", "/").lstrip("./")
        places = [given_path(root / named), root / inside, *places]
    return next((p for p in places if p.is_dir() and p != root / "images"), None)


def _labels(folder: Path) -> Path:
    """The folder labels/... for images/..., by YOLO's rule: replaces the last "images"."""
    parts = list(folder.parts)
    for at in reversed(range(len(parts))):
        if parts[at] == "images":
            parts[at] = "labels"
            return Path(*parts)
    return folder


def _image(
    name: str, photo: Path, file: Path, names: dict[int, str], found: Annotations
) -> Annotated:
    size, shapes = read_size(photo), []
    for number, line in enumerate(read_lines(file), 1):
        where = f"Line {number} of {file}"
        try:
            if line:
                with reading(where, _EXPORT):
                    shapes.append(_shape(line.split(), size, names, where))
        except InputError as error:
            found.problems.append(problem_of("annotation", file, error))
    return Annotated(name, photo, file, size, shapes)


def _shape(words: list[str], size: tuple[int, int], names: dict[int, str], where: str) -> Shape:
    if (kind := int(words[0])) not in names:
        raise InputError(
            f"{where} has the class {kind}, which data.yaml does not define.",
            "Add it to the names, or remove the line.",
        )
    numbers = np.array([float(word) for word in words[1:]])
    if len(numbers) in (4, 5):
        raise InputError(
            f"{where} is a box or has only two points, which does not define the pixels of an "
            "object.",
            _EXPORT,
        )
    points = points_of(numbers, where)
    if points.max() > 2:
        raise InputError(f"{where} is in pixels, not in fractions of the image size.", _EXPORT)
    points = points * (size[1], size[0])
    check_inside(points, size, where)
    return Shape(names[kind], Polygons([points]))
