"""COCO JSON: polygons, run lengths and crowds; and the panoptic form with its PNGs.

One file has all images of a split or of the data set. A panoptic file is detected by its
`segments_info`; its PNGs are in a folder with its name, as in COCO's release.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from jaxseg.data.formats.files import find_file
from jaxseg.data.formats.kinds import check_kind
from jaxseg.data.formats.photos import Photos, split_folders
from jaxseg.data.formats.polygons import Polygons
from jaxseg.data.formats.runs import coco_runs
from jaxseg.data.formats.shapes import (
    Annotated,
    Annotations,
    Shape,
    check_inside,
    points_of,
    problem_of,
    read_json,
    reading,
    size_of,
)
from jaxseg.data.listing import Problem
from jaxseg.errors import InputError

LAYOUT = (
    "The folder must contain the images and annotations/instances_SPLIT.json, SPLIT.json or one "
    "JSON for all splits. To use another file, set config.data.annotations; {split} in it stands "
    "for the split."
)
_EXPORT = "Export it again as COCO JSON."


def read(config: ml_collections.ConfigDict, root: Path, split: str) -> Annotations:
    """Reads the images and shapes of one split.

    Args:
      config: a run's `config.data`.
      root: folder of the data set.
      split: name of the split.

    Raises:
      InputError: there is no annotation file, or it is not COCO JSON.
    """
    file, is_split = find_file(config, root, split, ".json", LAYOUT)
    data = read_json(file, _EXPORT)
    check_kind(data, file, "coco")
    names: dict[str, None] = dict.fromkeys(categories_in(data, file).values())
    if is_split:  # numbers are the same in all splits, even if one lacks a class
        for other in (config.train_split, config.eval_split):
            path, its_own = find_file(config, root, other, ".json", LAYOUT, must=False)
            if path is not None and its_own and path != file:
                more = _names(path, path.stat().st_mtime_ns)
                names = dict.fromkeys((*more, *names) if other == config.train_split else
                                      (*names, *more))  # fmt: skip
    found = Annotations(list(names), is_split=is_split)
    _read_images(data, file, Photos([*split_folders(root, split), file.parent]), found)
    return found


@functools.lru_cache(16)
def _names(file: Path, _changed: int) -> tuple[str, ...]:
    return tuple(categories_in(read_json(file, _EXPORT), file).values())


def categories_in(data: Mapping, file: Path) -> dict[int, str]:
    """The names of the categories by id, in the order of the ids."""
    with reading(f"The list of categories in {file}", _EXPORT):
        names = {int(c["id"]): str(c["name"]).strip() for c in data["categories"]}
        if not all(names.values()):
            raise ValueError("a category has no name")
    return dict(sorted(names.items()))


def _read_images(data: Mapping, file: Path, photos: Photos, found: Annotations) -> None:
    categories, images = categories_in(data, file), {}
    for number, entry in enumerate(data["images"]):
        try:
            with reading(f"Image {number} of {file}", _EXPORT):
                key, name = _id(entry["id"]), str(entry["file_name"])
                size = size_of(entry["width"], entry["height"])
                if key in images:
                    raise InputError(
                        f"{file} uses the image id {key} twice: for '{images[key].name}' and "
                        f"'{name}'.",
                        "Give each image a unique id, and update its annotations.",
                    )
            photo = photos.find(name)
            images[key] = Annotated(
                Path(name).with_suffix("").as_posix(), photo or file, file, size
            )
            if photo is None:
                found.problems.append(photos.missing(name, file))
            else:
                found.images.append(images[key])
        except InputError as error:
            found.problems.append(problem_of("image", file, error))
    for number, entry in enumerate(data["annotations"]):
        where = f"Annotation {number} of {file}"
        try:
            with reading(where, _EXPORT):
                where = f"Annotation {entry.get('id', number)} of {file}"
                if (image := images.get(_id(entry["image_id"]))) is None:
                    found.problems.append(_no_image(where, entry["image_id"], file))
                elif "segments_info" in entry:
                    _add_segments(image, entry, file, categories)
                else:
                    image.shapes = (*image.shapes, _shape(entry, categories, image, where))
        except InputError as error:
            found.problems.append(problem_of("annotation", file, error))


def _id(value: Any) -> Any:
    """An id; some tools write the numbers as texts, even in one file."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _no_image(where: str, key: Any, file: Path) -> Problem:
    return Problem(
        "no image",
        str(file),
        f"{where} belongs to the image {key}, which the file does not list.",
        "Add the image to the list, or remove the annotation.",
    )


def _add_segments(image: Annotated, entry: Mapping, file: Path, categories: Mapping) -> None:
    name = str(entry["file_name"])
    folders = (file.with_suffix(""), file.parent / "masks", file.parent)
    if (png := Photos(folders).find(name)) is None:
        raise InputError(
            f"There is no {folders[0] / name} with the segments of '{image.name}' in {file}.",
            f"Put the PNGs into the folder {folders[0]}.",
        )
    segments = {}
    for segment in entry["segments_info"]:
        where = f"Segment {segment['id']} of '{image.name}' in {file}"
        segments[int(segment["id"])] = _category(segment, categories, where)
    image.png, image.segments = png, segments


def _category(entry: Mapping, categories: Mapping[int, str], where: str) -> str:
    if (name := categories.get(_id(entry["category_id"]))) is None:
        raise InputError(
            f"{where} has the category {entry['category_id']}, which the file does not define.",
            "Add it to the categories in the file.",
        )
    return name


def _shape(entry: Mapping, categories: Mapping[int, str], image: Annotated, where: str) -> Shape:
    name = _category(entry, categories, where[0].upper() + where[1:])
    assert image.size is not None
    outline, crowd = entry.get("segmentation"), bool(entry.get("iscrowd", 0))
    if isinstance(outline, Mapping):
        return Shape(name, coco_runs(outline, image.size, where), crowd)
    if not outline:
        raise InputError(
            f"{where[0].upper()}{where[1:]} has a box but no outline.",
            "Label outlines or masks; a box does not define the pixels of an object.",
        )
    parts = [points_of(part, where) for part in outline]
    for part in parts:
        check_inside(part, image.size, where)
    return Shape(name, Polygons(parts), crowd)
