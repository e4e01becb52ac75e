"""Boundary IoU against the erosions in its authors' definition, one class and pixel at a time."""

import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.metrics import scores
from jaxseg.metrics.boundary import boundary_counts


def boundary(mask, times):
    """The pixels that `times` erosions by a 3×3 square remove; outside the image is background."""
    left = mask
    for _ in range(times):
        padded = np.pad(left, 1)
        left = np.ones_like(mask)
        for dy in range(3):
            for dx in range(3):
                left &= padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
    return mask & ~left


def blobs(seed, shape, classes):
    """Large patches of classes, some ignored, and a shifted, partly wrong prediction."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-shape[0] // 9), -(-shape[1] // 7)))
    labels = np.kron(coarse, np.ones((9, 7), int))[: shape[0], : shape[1]]
    predictions = np.roll(labels, (2, 1), axis=(0, 1))
    predictions[rng.random(shape) < 0.02] = 0
    labels[5:9, 3:12] = 255
    labels[rng.random(shape) < 0.003] = 255
    return labels, predictions


@pytest.mark.parametrize(
    ("shape", "dilation", "reach"),
    [((47, 61), 0.02, 2), ((47, 61), 0.05, 4), ((30, 33), 0.001, 1), ((13, 40), 0.2, 8)],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_counts_are_those_of_each_classs_erosion(shape, dilation, reach, dtype):
    labels, predictions = blobs(0, shape, 4)
    want = []
    for k in range(4):
        counted = labels != 255
        true = boundary((labels == k) & counted, reach)
        predicted = boundary((predictions == k) & counted, reach)
        want.append([(true & predicted).sum(), true.sum(), predicted.sum()])
    predictions[labels == 255] = 77  # any value
    got = boundary_counts(labels.astype(dtype), predictions.astype(dtype), 4, dilation=dilation)
    assert got.dtype == np.int64 and (np.array(want)[:, 0] > 0).any()
    np.testing.assert_array_equal(got, want)


def test_a_whole_image_of_one_class_has_its_edge_as_boundary():
    """The diagonal is 50 pixels, so the boundary is 1 pixel wide."""
    labels = np.zeros((30, 40), int)
    assert boundary_counts(labels, labels, 2).tolist() == [[136, 136, 136], [0, 0, 0]]


def test_scores():
    s = scores(np.diag([5, 2, 0]), boundary=np.array([[4, 5, 7], [3, 3, 3], [0, 0, 0]]))
    assert s["boundary_iou"] == pytest.approx([0.5, 1, np.nan], nan_ok=True)
    assert s["mean_boundary_iou"] == pytest.approx(0.75)
    s = scores(
        np.diag([5, 2, 0]), boundary=np.array([[4, 5, 7], [3, 3, 3], [0, 0, 0]]), absent="one"
    )
    assert s["boundary_iou"] == pytest.approx([0.5, 1, 1])
    assert "boundary_iou" not in scores(np.eye(2, dtype=int))


def test_what_cannot_be_counted():
    good = np.zeros((4, 5), int)
    with pytest.raises(InputError, match="labels contain 3"):
        boundary_counts(good + 3, good, 3)
    with pytest.raises(InputError, match="predictions contain 255"):
        boundary_counts(good, good + 255, 3)
    with pytest.raises(InputError, match="one image"):
        boundary_counts(good[None], good[None], 3)
    with pytest.raises(InputError, match="boundary counts"):
        scores(np.eye(2, dtype=int), boundary=np.zeros((3, 3), int))
