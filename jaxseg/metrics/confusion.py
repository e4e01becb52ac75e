"""Metrics of a segmentation, from one confusion matrix of the whole set (FCN section 5)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxseg.errors import InputError, nearest
from jaxseg.ops.byte_labels import byte_labels
from jaxseg.ops.checks import as_array, check_labels
from jaxseg.ops.confusion import pair_counts
from jaxseg.ops.dispatch import on_any_mesh
from jaxseg.ops.strips import Strips, in_strips
from jaxseg.ops.upsampling import Upsampling, UpsamplingOfEach

_ABSENT = {"nan": np.nan, "zero": 0.0, "one": 1.0}


@on_any_mesh("whole")
def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int, *, ignore_label: int = 255
) -> jax.Array:
    """Counts of (true class, predicted class) over labelled pixels.

    Args:
      labels: integers of any shape, 0..num_classes-1 or `ignore_label`.
      predictions: integers of the same shape, 0..num_classes-1.
      num_classes: the number of classes, C.
      ignore_label: the label of pixels that are not counted.

    Returns:
      [C, C] int32, row = truth, column = prediction; exact up to 2**31 - 1 pixels. Add larger
      counts in 64 bits.

    Raises:
      InputError: shapes that differ, or values out of range (only outside `jit`, where the values
        are known; inside, such pixels are not counted).

    >>> confusion_matrix(jnp.array([0, 1, 1, 255]), jnp.array([0, 1, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    labels, predictions = as_array(labels), as_array(predictions)
    if labels.shape != predictions.shape:
        raise InputError(
            f"Labels of shape {labels.shape} and predictions of shape {predictions.shape} differ.",
            "Give one prediction for each label.",
        )
    check_labels(labels, num_classes, ignore_label, "labels")
    check_labels(predictions, num_classes, None, "predictions")
    true = jnp.asarray(labels).ravel().astype(jnp.int32)
    predicted = jnp.asarray(predictions).ravel().astype(jnp.int32)
    counted = true != ignore_label
    for values in (true, predicted):
        counted &= (values >= 0) & (values < num_classes)
    cell = jnp.where(counted, true * num_classes + predicted, num_classes**2)
    counts = jax.ops.segment_sum(jnp.ones_like(cell), cell, num_classes**2 + 1)
    return counts[:-1].reshape(num_classes, num_classes)


@on_any_mesh("batch")
def predict_labels(
    coarse_logits: ArrayLike,
    upsampling: Upsampling | UpsamplingOfEach,
    *,
    strip_rows: int | None = None,
) -> jax.Array:
    """The class with the highest upsampled logit at each pixel, computed in strips.

    Args:
      coarse_logits: [N, h, w, C] floating point, at most 256 classes.
      upsampling: the map from [h, w] to [H, W], or one per image.
      strip_rows: rows of the full-resolution map in memory at a time; None: chosen for the
        platform.

    Returns:
      [N, H, W] uint8; ties go to the lower class.

    Raises:
      InputError: more than 256 classes.
    """
    coarse_logits = as_array(coarse_logits)
    return in_strips(_labels_in, upsampling, strip_rows, coarse_logits.astype(jnp.float32))


def _labels_in(strips: Strips, coarse_logits: jax.Array) -> jax.Array:
    def body(carry, start, weights):
        return carry, byte_labels(strips.read(coarse_logits, start, weights))

    return strips.join(strips.scan(body, None)[1])


@on_any_mesh("whole")
def coarse_confusion(
    coarse_logits: ArrayLike,
    labels: ArrayLike,
    upsampling: Upsampling | UpsamplingOfEach,
    *,
    ignore_label: int = 255,
    strip_rows: int | None = None,
) -> jax.Array:
    """`confusion_matrix` of `predict_labels`, counted strip by strip without a full label map.

    Args:
      coarse_logits: [N, h, w, C] floating point.
      labels: [N, H, W] integers, 0..C-1 or `ignore_label`; other values are not counted.
      upsampling: the map from [h, w] to [H, W], or one per image.
      ignore_label: the label of pixels that are not counted.
      strip_rows: rows of the full-resolution map in memory at a time; None: chosen for the
        platform.

    Returns:
      [C, C] int32, row = truth, column = prediction.
    """
    coarse_logits, labels = as_array(coarse_logits), as_array(labels)
    count = functools.partial(_counts_in, ignore_label=ignore_label)
    arrays = coarse_logits.astype(jnp.float32), labels.astype(jnp.int32)
    return in_strips(count, upsampling, strip_rows, *arrays)


def _counts_in(
    strips: Strips, coarse_logits: jax.Array, labels: jax.Array, *, ignore_label: int
) -> jax.Array:
    classes = coarse_logits.shape[-1]

    def body(counts, start, weights, true):
        predicted = strips.read(coarse_logits, start, weights).argmax(axis=-1)
        true = jnp.where(true == ignore_label, -1, true)
        return counts + pair_counts(true, predicted.astype(jnp.int32), classes), None

    # Counts stay separate per image until the end, so that devices communicate only once.
    init = jnp.zeros((labels.shape[0], classes, classes), jnp.int32)
    return strips.scan(body, init, strips.split(labels, -1))[0].sum(axis=0)


def scores(
    confusion: ArrayLike,
    *,
    absent: str = "nan",
    boundary: ArrayLike | None = None,
) -> dict[str, Any]:
    """The four metrics of the FCN paper (section 5), Dice, and the values of each class.

    With n[i, j] pixels of class i predicted as j, t[i] = sum_j n[i, j] and p[i] = sum_j n[j, i]:
    pixel accuracy sum_i n[i, i] / sum_i t[i]; accuracy of a class n[i, i] / t[i], its IoU
    n[i, i] / (t[i] + p[i] - n[i, i]), its Dice (or F1) 2 n[i, i] / (t[i] + p[i]), and the means of
    these; frequency-weighted IoU, the mean weighted by each class's share t[i] / sum_i t[i].

    Args:
      confusion: [C, C] integers, row = truth, summed over the whole set (not averaged over images).
      absent: value of a class in a mean if it occurs neither in the truth nor in the prediction
        (for mean accuracy: not in the truth). "nan": it is left out, as in cityscapesScripts and
        mmsegmentation; "zero": 0, as in semseg; "one": 1, as in PaddleSeg.
      boundary: [C, 3] integers, the sum of `boundary_counts` over the data set; None: no boundary
        IoU.

    Returns:
      A dict of floats `pixel_accuracy`, `mean_accuracy`, `mean_iou`, `frequency_weighted_iou` and
      `mean_dice` in 0..1, the lists `accuracy`, `iou`, `dice` and `share` of C floats, and the
      string `absent`; with `boundary` also `mean_boundary_iou` and `boundary_iou`. If nothing is
      labelled, all metrics are NaN.

    Raises:
      InputError: a matrix that is not square integers, counts that are not [C, 3] integers, or an
        unknown `absent`.

    >>> s = scores(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    >>> [round(v, 4) for v in s["iou"]], round(s["mean_iou"], 4), round(s["mean_dice"], 4)
    ([0.75, 0.6667, nan], 0.7083, 0.8286)
    """
    if absent not in _ABSENT:
        raise InputError(f"absent is '{absent}'.", nearest(str(absent), _ABSENT))
    n = np.asarray(confusion)
    if n.ndim != 2 or n.shape[0] != n.shape[1] or not np.issubdtype(n.dtype, np.integer):
        raise InputError(
            f"The confusion matrix has shape {n.shape} and dtype {n.dtype}.",
            "Give [C, C] integers.",
        )
    if n.size and n.min() < 0:
        raise InputError(
            f"The confusion matrix contains {n.min()}.",
            "Give counts of 0 or more; add the matrices of many images in int64.",
        )
    n = n.astype(np.int64)
    hits, true, predicted = n.diagonal(), n.sum(axis=1), n.sum(axis=0)
    total = int(true.sum())

    def ratio(part, whole):
        return np.where(whole > 0, part / np.maximum(whole, 1), _ABSENT[absent])

    def mean(values):
        return float(np.mean(values[~np.isnan(values)])) if total else np.nan

    each = {
        "accuracy": ratio(hits, true),
        "iou": ratio(hits, true + predicted - hits),
        "dice": ratio(2 * hits, true + predicted),
        "share": true / total if total else np.full(len(n), np.nan),
    }
    if boundary is not None:
        each["boundary_iou"] = ratio(*_boundary_parts(boundary, len(n)))
    present = true > 0
    weighted = (each["share"][present] * each["iou"][present]).sum()
    result = {
        "pixel_accuracy": float(hits.sum() / total) if total else np.nan,
        "mean_accuracy": mean(each["accuracy"]),
        "mean_iou": mean(each["iou"]),
        "frequency_weighted_iou": float(weighted) if total else np.nan,
        "mean_dice": mean(each["dice"]),
    }
    if boundary is not None:
        result["mean_boundary_iou"] = mean(each["boundary_iou"])
    lists = {key: [float(v) for v in values] for key, values in each.items()}
    return result | lists | {"absent": absent}


def _boundary_parts(counts: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Intersections and unions from `boundary_counts`."""
    counts = np.asarray(counts)
    if counts.shape != (classes, 3) or not np.issubdtype(counts.dtype, np.integer):
        raise InputError(
            f"The boundary counts have shape {counts.shape} and dtype {counts.dtype}.",
            f"Give [{classes}, 3] integers, as returned by boundary_counts.",
        )
    both, true, predicted = counts.astype(np.int64).T
    return both, true + predicted - both
