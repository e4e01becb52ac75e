"""Label Studio JSON: a list of tasks, with brush strokes, and polygons in percent of the image."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import ml_collections
import numpy as np

from jaxseg.data.formats.files import find_file
from jaxseg.data.formats.kinds import check_kind
from jaxseg.data.formats.photos import Photos, split_folders
from jaxseg.data.formats.polygons import Polygons, box, ellipse, turned_about
from jaxseg.data.formats.runs import Alpha
from jaxseg.data.formats.shapes import (
    Annotated,
    Annotations,
    Region,
    Shape,
    check_inside,
    points_of,
    problem_of,
    read_json,
    reading,
    size_of,
)
from jaxseg.data.listing import PHOTO_SUFFIXES
from jaxseg.errors import InputError

LAYOUT = (
    "The folder must contain the export (JSON, not JSON-MIN) and the images, in images/ or "
    "beside it. To use another file, set config.data.annotations."
)
_EXPORT = "Export the project again, as JSON."
_KINDS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")
_PREFIX = 9  # Label Studio adds 8 letters and a dash to the name of an uploaded file


def read(config: ml_collections.ConfigDict, root: Path, split: str) -> Annotations:
    """Reads the images and shapes of a project.

    If a task has several annotations, the one marked as ground truth is used, otherwise the first
    that was not cancelled.

    Raises:
      InputError: there is no export, or it is not from Label Studio.
    """
    file, is_split = find_file(config, root, split, ".json", LAYOUT)
    tasks = read_json(file, _EXPORT)
    tasks = [tasks] if isinstance(tasks, Mapping) else tasks
    check_kind(tasks, file, "labelstudio")
    found, names, ids = Annotations((), is_split=is_split), set(), set()
    photos = Photos([*split_folders(root, split), file.parent])
    for number, task in enumerate(tasks):
        where = f"Task {task.get('id', number)} of {file}"
        try:
            with reading(where, _EXPORT):
                if (key := task.get("id", f"at {number}")) in ids:
                    raise InputError(f"{file} contains the task {key} twice.", _EXPORT)
                ids.add(key)
                name = _photo_name(task["data"], where)
                photo = photos.find(name) or photos.find(PurePosixPath(name).name[_PREFIX:])
                size, shapes = _shapes(task, where, file, found, config.unannotated == "background")
        except InputError as error:
            found.problems.append(problem_of("annotation", file, error))
            continue
        names |= {shape.name for shape in shapes}
        if photo is None:
            found.problems.append(photos.missing(name, file))
        else:
            found.images.append(Annotated(photo.stem, photo, file, size, shapes))
    found.class_names = sorted(names)
    return found


def _photo_name(data: Mapping[str, Any], where: str) -> str:
    """The path of a task's photo: its only value that is the URL of an image."""
    for value in data.values():
        if not isinstance(value, str):
            continue
        address = urlsplit(value)
        # in /data/local-files/?d=folder/a.jpg, the path is in the query
        path = parse_qs(address.query).get("d", [unquote(address.path)])[0]
        if path.lower().endswith(PHOTO_SUFFIXES):
            return path.lstrip("/")
    raise InputError(f"{where} has no image.", "Export an image segmentation project.")


def _shapes(
    task: Mapping, where: str, file: Path, found: Annotations, may_lack: bool
) -> tuple[tuple[int, int] | None, list[Shape]]:
    """(size, shapes) of a task; `found` receives the problems of single shapes."""
    made = [a for a in task.get("annotations") or task.get("completions") or []
            if not a.get("was_cancelled")]  # fmt: skip
    if not made and not may_lack:
        raise InputError(
            f"{where} is not annotated.",
            "Annotate it or remove it. If it shows no objects, set "
            "config.data.unannotated='background'.",
        )
    made.sort(key=lambda annotation: not annotation.get("ground_truth"))
    size, shapes = None, []
    for number, entry in enumerate(made[0]["result"] if made else (), 1):
        kind = entry.get("type")
        if kind not in _KINDS:
            continue
        place = f"shape {number} ({kind}) of {where[0].lower()}{where[1:]}"
        try:
            with reading(place, _EXPORT):
                size = size_of(entry["original_width"], entry["original_height"])
                if entry.get("image_rotation"):
                    raise InputError(
                        f"{place} was drawn on a rotated image.",
                        "Rotate the image file instead, and draw it again.",
                    )
                shapes += _labelled(entry["value"], kind, size, place)
        except InputError as error:
            found.problems.append(problem_of("annotation", file, error))
    return size, shapes


def _labelled(value: Mapping, kind: str, size: tuple[int, int], where: str) -> Iterator[Shape]:
    names = value.get(kind) or value.get("labels")
    if not names:
        raise InputError(f"{where} has no label.", "Label it, or remove it.")
    yield Shape(str(names[0]).strip(), _region(value, kind, size, where))


def _region(value: Mapping, kind: str, size: tuple[int, int], where: str) -> Region:
    height, width = size
    if kind == "brushlabels":
        return Alpha(np.asarray(value["rle"], np.uint8).tobytes(), height, width, where)
    scale, turn = np.array([width, height]) / 100, float(value.get("rotation", 0))
    if kind == "polygonlabels":
        points = points_of(value["points"], where) * scale
    elif kind == "ellipselabels":
        centre = np.array([value["x"], value["y"]]) * scale
        radii = np.array([value["radiusX"], value["radiusY"]]) * scale
        points = ellipse(centre[0], centre[1], radii[0], radii[1], turn)
    else:
        corner = np.array([value["x"], value["y"]]) * scale
        far = corner + np.array([value["width"], value["height"]]) * scale
        points = turned_about(box(*corner, *far), tuple(corner), turn)
    check_inside(points_of(points, where), size, where)
    return Polygons([points])
