"""Object proposals: boxes that may contain an object, of any class.

DeconvNet uses Edge Boxes (Zitnick and Dollár 2014), whose edge detector needs a file that OpenCV
does not include. Selective Search (Uijlings et al. 2013) needs no file, is part of OpenCV's contrib
modules, and its boxes fit objects better: on five images of VOC, the best of all boxes overlaps an
object by 0.83 on average; Edge Boxes on plain gradients reach 0.74.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tqdm

from jaxseg.data.augment import resize_image
from jaxseg.data.crops import Box
from jaxseg.data.disk_cache import cached, digest
from jaxseg.data.shown import shown
from jaxseg.data.source import Source
from jaxseg.data.warp_backends import opencv
from jaxseg.errors import InputError

METHOD = "selective search, fast, 1"  # part of the cache key; change it if the boxes change
_LONG_SIDE = 500  # of the searched image, as in VOC: time grows faster than the number of pixels
_OVERLAP = 0.5  # intersection over union above which a box is ranked after a larger one
_THREADS = 8


def propose(image: np.ndarray) -> list[Box]:
    """The boxes of Selective Search in an image, in its fast mode.

    An image of 500×375 takes about 3 seconds and has about 2000 boxes; larger images are searched
    at that size. The result is cached on disk (`jaxseg.data.disk_cache`), by the image's content.

    Args:
      image: uint8 [H, W, 3], RGB.

    Returns:
      (top, left, bottom, right), all inside the image: first those that overlap no earlier one by
      more than half, then the others; each group from the largest to the smallest.

    Raises:
      InputError: OpenCV's contrib modules are not installed.
    """
    found = cached("proposals", digest(METHOD, image), lambda: ranked(search(image)))
    return [(top, left, bottom, right) for top, left, bottom, right in found.tolist()]


def propose_for_all(source: Source) -> dict[str, list[Box]]:
    """`propose` for every image of a data set, by name; in threads, with a progress bar.

    Raises:
      InputError: as `propose`; an image cannot be read.
    """

    def of_example(index: int) -> tuple[str, list[Box]]:
        return source.name(index), propose(shown(source[index].image))

    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(of_example, range(len(source)))
        return dict(tqdm.tqdm(results, "proposals", len(source), unit="image", disable=None))


def search(image: np.ndarray) -> np.ndarray:
    """The boxes in arbitrary order: int32 [n, 4]."""
    segmentation = _selective_search()
    height, width = image.shape[:2]
    scale = max(1.0, max(height, width) / _LONG_SIDE)
    small = max(1, round(height / scale)), max(1, round(width / scale))
    if min(small) < 2:  # OpenCV fails on a single line of pixels
        return np.array([[0, 0, height, width]], np.int32)
    selective = segmentation.createSelectiveSearchSegmentation()
    selective.setBaseImage(np.ascontiguousarray(resize_image(image, small)[..., ::-1]))
    selective.switchToSelectiveSearchFast()
    left, top, across, down = np.asarray(selective.process(), np.float64).reshape(-1, 4).T
    boxes = np.stack([top, left, top + down, left + across], axis=1)
    boxes *= np.array([height, width, height, width]) / np.array([*small, *small])
    boxes[:, :2] = np.floor(boxes[:, :2])
    boxes[:, 2:] = np.minimum(np.ceil(boxes[:, 2:]), [height, width])
    return boxes.astype(np.int32)


def ranked(boxes: np.ndarray) -> np.ndarray:
    """Each box once, in the order of `propose`. OpenCV's own order is random."""
    top, left, bottom, right = boxes.T
    boxes = boxes[np.lexsort((left, top, -(bottom - top) * (right - left)))]
    first = np.unique(boxes, axis=0, return_index=True)[1]
    boxes = boxes[np.sort(first)]
    leaders, waiting = [], np.arange(len(boxes))
    while len(waiting):
        leaders.append(waiting[0])
        waiting = waiting[1:]
        waiting = waiting[overlap(boxes[leaders[-1]], boxes[waiting]) <= _OVERLAP]
    others = np.setdiff1d(np.arange(len(boxes)), leaders)
    return boxes[np.concatenate([leaders, others]).astype(int)]


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box [4] with others [n, 4]: [n]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.maximum(sides, 0).prod(1)
    return common / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - common)


def _selective_search() -> Any:
    remedy = (
        "Run pip install 'jaxseg[opencv]'; first uninstall opencv-python and "
        "opencv-python-headless if installed. Or give a file of boxes in config.data.boxes "
        "(training) or config.eval.boxes (evaluation)."
    )
    try:
        return opencv().ximgproc.segmentation
    except (InputError, AttributeError) as error:
        raise InputError(
            "Object proposals need OpenCV with the contrib modules, which is not installed.",
            remedy,
        ) from error
