"""CVAT XML: one file for all images, or for a video, with polygons, boxes and masks."""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import ml_collections
import numpy as np

from jaxseg.data.formats.cvat_video import read_video
from jaxseg.data.formats.files import find_file
from jaxseg.data.formats.photos import Photos, split_folders
from jaxseg.data.formats.polygons import Figure, Polygons, box, ellipse, turned_about
from jaxseg.data.formats.runs import runs
from jaxseg.data.formats.shapes import (
    Annotated,
    Annotations,
    Region,
    Shape,
    check_inside,
    points_of,
    problem_of,
    reading,
    size_of,
)
from jaxseg.data.image_file import read_regular
from jaxseg.errors import InputError
from jaxseg.utils.access import reason, remedy_for

LAYOUT = (
    "The folder must contain annotations.xml (CVAT for images 1.1, or for video 1.1) and the "
    "images or frames, in images/ or beside it. To use another file, set config.data.annotations."
)
_EXPORT = "Export the task again, as 'CVAT for images 1.1' or 'CVAT for video 1.1'."
_ALIKE = (
    "neighbouring frames of a video look alike, and may be in both splits; to avoid that, write "
    "lists train.txt and val.txt"
)
_LINE_WIDTH = 1
_KINDS = ("polygon", "box", "mask", "ellipse", "polyline")


def read(config: ml_collections.ConfigDict, root: Path, split: str) -> Annotations:
    """Reads the images and shapes of a file; only those of CVAT's subset `split`, if it exists.

    Raises:
      InputError: there is no annotation file, or it is not CVAT XML.
    """
    file, is_split = find_file(config, root, split, ".xml", LAYOUT)
    try:
        tree = ElementTree.fromstring(read_regular(file))
    except (OSError, ElementTree.ParseError, UnicodeError, ValueError) as error:
        raise InputError(
            f"{file} cannot be read as XML ({reason(error)}).", remedy_for(error, _EXPORT)
        ) from error
    images = tree.findall("image")
    if tree.tag != "annotations" or (not images and tree.find("track") is None):
        raise InputError(f"{file} is not a CVAT XML file.", _EXPORT)
    subsets = {(image.get("subset") or "").lower() for image in images}
    if split.lower() in subsets:
        images = [i for i in images if (i.get("subset") or "").lower() == split.lower()]
        is_split = True
    labels = [label.findtext("name", "").strip() for label in tree.iterfind(".//label")]
    names = dict.fromkeys(filter(None, labels))
    if not names:  # exports of single jobs of old versions have no list
        labelled = [*tree.iter("track"), *(e for i in tree.iter("image") for e in i)]
        names = dict.fromkeys(sorted({e.get("label", "").strip() for e in labelled}))
    found = Annotations(list(names), is_split=is_split)
    if not images:
        read_video(tree, file, [*split_folders(root, split), file.parent], _KINDS, _shape, found)
        if not is_split and not (root / f"{split}.txt").is_file():
            found.notes.append(_ALIKE)
        return found
    photos, ids = Photos([*split_folders(root, split), file.parent]), set()
    for number, image in enumerate(images):
        try:
            with reading(f"Image {number} of {file}", _EXPORT):
                key, name = (image.get("id"), image.get("subset")), image.attrib["name"]
                size = size_of(image.attrib["width"], image.attrib["height"])
                if key in ids:
                    raise InputError(f"{file} uses the image id {key[0]} twice.", _EXPORT)
                ids.add(key)
        except InputError as error:
            found.problems.append(problem_of("image", file, error))
            continue
        photo = photos.find(name)
        shapes = _shapes(image, size, file, found)
        if photo is None:
            found.problems.append(photos.missing(name, file))
        else:
            bare = Path(name).with_suffix("").as_posix()
            found.images.append(Annotated(bare, photo, file, size, shapes))
    return found


def _shapes(image: ElementTree.Element, size, file: Path, found: Annotations) -> list[Shape]:
    """The shapes of an image, the lowest first: by z_order, then by position in the file."""
    shapes: list[tuple[int, Shape]] = []
    for number, entry in enumerate((e for e in image if e.tag in _KINDS), 1):
        where = f"Shape {number} ({entry.tag}) of '{image.get('name')}' in {file}"
        try:
            with reading(where, _EXPORT):
                shapes.append((int(entry.get("z_order", 0)), _shape(entry, size, where)))
        except InputError as error:
            found.problems.append(problem_of("annotation", file, error))
    return [shape for _, shape in sorted(shapes, key=lambda placed: placed[0])]


def _shape(entry: ElementTree.Element, size: tuple[int, int] | None, where: str) -> Shape:
    return Shape(entry.attrib["label"].strip(), _region(entry, size, where))


def _region(entry: ElementTree.Element, size: tuple[int, int] | None, where: str) -> Region:
    def numbers(*names: str) -> Iterable[float]:
        return (float(entry.attrib[name]) for name in names)

    turn = float(entry.get("rotation", 0))
    if entry.tag == "mask":
        left, top, width, height = (int(n) for n in numbers("left", "top", "width", "height"))
        counts = [int(n) for n in entry.attrib["rle"].split(",") if n.strip()]
        return runs(counts, height, width, where, by_columns=False, left=left, top=top)
    if entry.tag == "ellipse":
        x, y, rx, ry = numbers("cx", "cy", "rx", "ry")
        points = ellipse(x, y, rx, ry, turn)
    elif entry.tag == "box":
        corners = box(*numbers("xtl", "ytl", "xbr", "ybr"))
        points = turned_about(corners, tuple(corners.mean(0)), turn)
    else:
        pairs = [pair.split(",") for pair in entry.attrib["points"].split(";") if pair.strip()]
        points = points_of(pairs, where, 3 if entry.tag == "polygon" else 2)
    check_inside(points_of(points, where, 2), size, where)
    if entry.tag == "polyline":
        return Figure("line", np.asarray(points), _LINE_WIDTH)
    return Polygons([points])
