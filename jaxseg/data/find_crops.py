"""Finds the crops that a run trains on, once, and caches them on disk."""

import os
from pathlib import Path

import numpy as np

from jaxseg.data.boxes_file import read_boxes
from jaxseg.data.crops import Crop, box_crops, boxes_about_objects, object_crops
from jaxseg.data.disk_cache import cached, digest
from jaxseg.data.inside import BandFiles
from jaxseg.data.listing import Pairs
from jaxseg.data.proposals import METHOD, propose_for_all
from jaxseg.data.scenes import Scenes

_RULES = 1  # version of the rules in `object_crops` and `box_crops`


def find_crops(source: Pairs | Scenes, kind: str, boxes: Path | None, seed: int) -> list[Crop]:
    """The crops of DeconvNet's stage 1 ("objects") or 2 ("boxes").

    For files they are cached on disk (`jaxseg.data.disk_cache`) until the size or time of a file in
    the data set changes, because finding them reads every mask.

    Args:
      source: the data set.
      kind: "objects" or "boxes".
      boxes: a file of boxes; None: those from `propose`, or boxes around the shapes of scenes.
      seed: seed of the boxes around shapes.

    Raises:
      InputError: a file of the data set or of boxes is missing or invalid, or OpenCV is not
        installed to propose boxes.
    """
    if isinstance(source, Scenes):
        return _find(source, kind, boxes, seed)
    origin = "" if kind == "objects" else METHOD if boxes is None else _bytes(boxes)
    info, values = source.info, sorted((source.values or {}).items())
    key = digest(_RULES, kind, origin, info.num_classes, info.ignore_label, values, _files(source))
    rows = cached("crops", key, lambda: _rows(_find(source, kind, boxes, seed)))
    return [
        Crop(example, tuple(box), None if number < 0 else number)
        for example, *box, number in rows.tolist()
    ]


def _find(source: Pairs | Scenes, kind: str, boxes: Path | None, seed: int) -> list[Crop]:
    if kind == "objects":
        return object_crops(source)
    if boxes is not None:
        index = {source.name(i): i for i in range(len(source))}
        size = lambda name: source.size(index[name]) if name in index else None  # noqa: E731
        return box_crops(source, read_boxes(boxes, size))
    if isinstance(source, Scenes):
        return box_crops(source, boxes_about_objects(source, seed))
    return box_crops(source, propose_for_all(source))


def _rows(crops: list[Crop]) -> np.ndarray:
    rows = [(c.example, *c.box, -1 if c.instance is None else c.instance) for c in crops]
    return np.array(rows, np.int32).reshape(-1, 6)


def _files(source: Pairs) -> list[tuple]:
    """The state of all files, which shows whether one has changed."""
    paths = [
        path
        for index, (_, photo, mask) in enumerate(source.pairs)
        for path in (*_own(photo), mask, source.object_file(index))
    ]
    return [(str(path), _state(path)) for path in paths]


def _own(photo: os.PathLike) -> tuple[os.PathLike, ...]:
    return photo.files if isinstance(photo, BandFiles) else (photo,)


def _state(path: os.PathLike) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # `read_boxes` reports the problem
