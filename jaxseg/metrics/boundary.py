"""Boundary IoU: the IoU near the contours of the classes (Cheng et al. 2021)."""

import numpy as np

from jaxseg.errors import InputError
from jaxseg.ops.checks import check_labels


def boundary_counts(
    labels: np.ndarray,
    predictions: np.ndarray,
    num_classes: int,
    *,
    ignore_label: int = 255,
    dilation: float = 0.02,
) -> np.ndarray:
    """Counts the boundary pixels of each class in one image: in truth, prediction, and both.

    The boundary of a class consists of its pixels that have, within d rows and d columns, a pixel
    of another class or one outside the image (section 4.1; the erosion by 3×3 squares in the
    authors' code). d is `dilation` times the diagonal of the image, rounded, at least 1. Ignored
    pixels belong to no class in either map, so unlabelled contours do not count.

    Args:
      labels: [H, W] integers, 0..num_classes-1 or `ignore_label`.
      predictions: [H, W] integers, 0..num_classes-1 at the pixels whose label is counted.
      num_classes: the number of classes, C.
      ignore_label: the label of pixels that are not counted.
      dilation: width of the boundary as a fraction of the image diagonal.

    Returns:
      [C, 3] int64: pixels in both boundaries, in the truth's, in the prediction's. Sum them over
      the images of a set and pass the sum to `metrics.scores`.

    Raises:
      InputError: shapes that differ or are not images, or values out of range.

    >>> truth = np.zeros([6, 6], int)
    >>> truth[:, 3:] = 1
    >>> boundary_counts(truth, truth, 2).tolist()
    [[14, 14, 14], [14, 14, 14]]
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 2 or labels.shape != predictions.shape or not labels.size:
        raise InputError(
            f"Labels have shape {labels.shape} and predictions have shape {predictions.shape}.",
            "Give the two maps of one image, both [H, W].",
        )
    check_labels(labels, num_classes, ignore_label, "labels")
    counted = labels != ignore_label
    check_labels(predictions[counted], num_classes, None, "predictions")
    reach = max(1, round(dilation * float(np.hypot(*labels.shape))))
    small = np.uint8 if num_classes < 255 else np.int32  # uint8 is many times faster
    maps = [np.where(counted, m, num_classes).astype(small) for m in (labels, predictions)]
    truth, predicted = (np.where(_at_boundary(m, reach), m, num_classes) for m in maps)
    both = np.where(truth == predicted, truth, num_classes)
    counts = [
        np.bincount(m.ravel(), minlength=num_classes + 1)[:num_classes]
        for m in (both, truth, predicted)
    ]
    return np.stack(counts, axis=1).astype(np.int64)


def _at_boundary(classes: np.ndarray, reach: int) -> np.ndarray:
    """Whether a pixel's square of side 2 * reach + 1 leaves the image or holds another class."""
    lowest, highest = classes, classes
    for axis in (0, 1):
        lowest = _extreme(lowest, reach, axis, np.minimum)
        highest = _extreme(highest, reach, axis, np.maximum)
    at = np.ones(classes.shape, bool)  # all pixels within `reach` of the image's edge
    inside = tuple(slice(reach, n - reach) for n in classes.shape)
    at[inside] = (lowest != highest)[inside]
    return at


def _extreme(x: np.ndarray, reach: int, axis: int, extreme: np.ufunc) -> np.ndarray:
    """The extreme of each window of size 2 * reach + 1, by doubling the window at each step.

    The results of windows that leave the array are arbitrary.
    """
    x = np.moveaxis(x, axis, 0)
    width, covered, y = 2 * reach + 1, 1, x
    if width > len(x):
        return np.moveaxis(x, 0, axis)
    while covered < width:  # y[i] is the extreme of x[i : i + covered]
        step = min(covered, width - covered)
        y = extreme(y[:-step], y[step:])
        covered += step
    out = x.copy()
    out[reach : reach + len(y)] = y
    return np.moveaxis(out, 0, axis)
