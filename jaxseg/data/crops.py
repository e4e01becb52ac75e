"""DeconvNet's training examples: crops around objects (Noh et al. 2015, section 4.2).

Stage 1 uses one crop per object: its tight box, enlarged 1.2 times, in which all other objects
become background. Stage 2 uses proposed boxes, with all classes. If a box extends beyond the photo,
the rest is black with ignored labels. Both are resized and cropped later, by
`Augment(resize=(250, 250), crop=(224, 224), flip=0.5)`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from jaxseg.data.source import DataInfo, Example, Source, kind_of, mask_file
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import ImageKind

Box = tuple[int, int, int, int]  # top, left, bottom, right, the last two exclusive
_MOST_REPEATS = 10
_THREADS = 8


class WithObjects(Source, Protocol):
    """A data set with object masks."""

    def objects(self, index: int) -> np.ndarray:
        """The object numbers in an example, unsigned [H, W]; 0: no object."""
        ...


class Crop(NamedTuple):
    """A part of an example."""

    example: int  # index in the data set
    box: Box
    instance: int | None = None  # the only object that keeps its class; None: all do


class Crops:
    """A data set of crops from another data set.

    Args:
      source: the other data set.
      crops: the crops; duplicates are allowed.

    Raises:
      InputError: `crops` is empty.
    """

    def __init__(self, source: WithObjects, crops: Sequence[Crop]):
        if not crops:
            raise InputError(
                f"'{source.info.name}' contains no objects, so no crops can be made.",
                "Check its instance masks or boxes.",
            )
        self._source, self._crops = source, list(crops)

    @property
    def info(self) -> DataInfo:
        return self._source.info

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, index: int) -> Example:
        crop = self._crops[index]
        image, label, _ = self._source[crop.example]
        label = cut(label, crop.box, self.info.ignore_label)
        if crop.instance is not None:
            numbers = self._source.objects(crop.example)
            others = cut(numbers, crop.box, crop.instance) != crop.instance
            label[others & (label != self.info.ignore_label)] = 0
        return Example(cut(image, crop.box, 0), label, self.name(index))

    def name(self, index: int) -> str:
        crop = self._crops[index]
        return f"{self._source.name(crop.example)} {','.join(map(str, crop.box))}"

    def size(self, index: int) -> tuple[int, int]:
        top, left, bottom, right = self._crops[index].box
        return bottom - top, right - left

    @property
    def kind(self) -> ImageKind:
        return kind_of(self._source)

    def mask_file(self, index: int) -> Path | None:
        """The file of the mask that the crop is from; None if there is none."""
        return mask_file(self._source, self._crops[index].example)


def cut(pixels: np.ndarray, box: Box, fill: int) -> np.ndarray:
    """The part of `pixels`, [H, W] or [H, W, 3], in `box`; `fill` outside the array.

    >>> cut(np.array([[1, 2], [3, 4]]), (1, 0, 3, 3), 9)
    array([[3, 4, 9],
           [9, 9, 9]])
    """
    top, left, bottom, right = box
    out = np.full((bottom - top, right - left, *pixels.shape[2:]), fill, pixels.dtype)
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    row, column = max(-top, 0), max(-left, 0)
    out[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    return out


def object_crops(source: WithObjects) -> list[Crop]:
    """Stage 1: the crops of all objects in the data set, as numbered in the masks of VOC and SBD.

    Raises:
      InputError: an object mask is missing, invalid, or differs in size from the class mask.
    """

    ignored = source.info.ignore_label

    def of_example(index: int) -> list[Crop]:
        boxes = _boxes_of(source.objects(index), ignored)
        return [Crop(index, enlarged(box), number) for number, box in boxes.items()]

    with ThreadPoolExecutor(_THREADS) as pool:
        return [crop for crops in pool.map(of_example, range(len(source))) for crop in crops]


def box_crops(source: Source, boxes: Mapping[str, Sequence[Box]]) -> list[Crop]:
    """Stage 2: the boxes that contain part of an object, with boxes of rare classes repeated.

    If a class of a box occurs in fewer boxes than the median class, the box is repeated by the
    ratio of the two numbers (for the rarest of its classes), at most ten times.

    Args:
      source: the data set.
      boxes: for the name of an example, its proposals as (top, left, bottom, right).
    """
    classes = source.info.num_classes

    def of_example(index: int) -> list[tuple[Crop, np.ndarray]]:
        found: list[tuple[Crop, np.ndarray]] = []
        wanted = boxes.get(source.name(index), ())
        if not wanted:
            return found
        label = source[index].label
        for box in wanted:
            part = cut(label, box, source.info.ignore_label)
            present = np.bincount(part.ravel(), minlength=256)[1:classes] > 0
            if present.any():
                found.append((Crop(index, enlarged(box)), present))
        return found

    with ThreadPoolExecutor(_THREADS) as pool:
        found = [pair for pairs in pool.map(of_example, range(len(source))) for pair in pairs]
    if not found:
        return []
    counts = np.sum([present for _, present in found], axis=0)
    median = np.median(counts[counts > 0])
    times = np.clip(np.rint(median / np.maximum(counts, 1)), 1, _MOST_REPEATS).astype(int)
    return [crop for crop, present in found for _ in range(times[present].max())]


def boxes_about_objects(source: WithObjects, seed: int) -> dict[str, list[Box]]:
    """Substitutes for object proposals: a box around each object, with each side moved by up to a
    fifth of the object's height or width."""
    found = {}
    for index in range(len(source)):
        rng = np.random.default_rng((seed, index))
        boxes = _boxes_of(source.objects(index), source.info.ignore_label).values()
        found[source.name(index)] = [
            _moved(box, rng.uniform(-0.2, 0.2, 4).tolist()) for box in boxes
        ]
    return found


def enlarged(box: Box, factor: float = 1.2) -> Box:
    """A box `factor` times as high and wide, with the same centre.

    >>> enlarged((10, 20, 20, 40))
    (9, 18, 21, 42)
    """
    top, left, bottom, right = box
    more_y, more_x = (bottom - top) * (factor - 1) / 2, (right - left) * (factor - 1) / 2
    return round(top - more_y), round(left - more_x), round(bottom + more_y), round(right + more_x)


def _moved(box: Box, by: Sequence[float]) -> Box:
    """`box` with each side moved by a share of its height or width; keeps a row and a column."""
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    top, bottom = top + round(by[0] * height), bottom + round(by[2] * height)
    left, right = left + round(by[1] * width), right + round(by[3] * width)
    return top, left, max(bottom, top + 1), max(right, left + 1)


def _boxes_of(numbers: np.ndarray, ignore_label: int) -> dict[int, Box]:
    """The tight box of each object by number."""
    present = (n for n in np.unique(numbers).tolist() if n not in (0, ignore_label))
    return {n: _bounds(numbers == n) for n in present}


def _bounds(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
