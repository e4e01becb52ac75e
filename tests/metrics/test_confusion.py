import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.metrics import coarse_confusion, confusion_matrix, predict_labels, scores
from jaxseg.ops import align_corners, bilinear_deconv, half_pixel
from jaxseg.ops.upsampling import identity

C = 4


def labels_and_predictions(seed=0, shape=(3, 11, 7), ignore_label=255):
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, C, (2, *shape))
    labels[rng.random(shape) < 0.3] = ignore_label
    return labels, predictions


def count(labels, predictions, ignore_label=255):
    out = np.zeros((C, C), int)
    for t, p in zip(labels.ravel(), predictions.ravel(), strict=True):
        if t != ignore_label:
            out[t, p] += 1
    return out


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int16])
@pytest.mark.parametrize("ignore_label", [255, 0, 77])
def test_confusion_matrix_is_the_count(dtype, ignore_label):
    labels, predictions = labels_and_predictions(ignore_label=ignore_label)
    want = count(labels, predictions, ignore_label)
    assert (want != want.T).any()  # truth and prediction are not interchangeable
    labels, predictions = labels.astype(dtype), predictions.astype(dtype)
    for inputs in ((labels, predictions), (jnp.asarray(labels), jnp.asarray(predictions))):
        got = confusion_matrix(*inputs, C, ignore_label=ignore_label)
        assert got.dtype == jnp.int32 and got.shape == (C, C)
        np.testing.assert_array_equal(got, want)
    jitted = jax.jit(lambda t, p: confusion_matrix(t, p, C, ignore_label=ignore_label))
    np.testing.assert_array_equal(jitted(labels, predictions), want)


def test_an_ignore_label_that_the_labels_cannot_hold():
    labels = np.array([0, 1, 3], np.uint8)
    np.testing.assert_array_equal(
        confusion_matrix(labels, labels, C, ignore_label=-1), np.diag([1, 1, 0, 1])
    )


def test_under_jit_values_out_of_range_are_not_counted():
    labels = jnp.array([0, 1, 2, 3, 255, -1, 4, 3, 2])
    predictions = jnp.array([0, 1, 2, 3, 0, 0, 0, -1, 4])
    got = jax.jit(lambda t, p: confusion_matrix(t, p, C))(labels, predictions)
    np.testing.assert_array_equal(got, np.eye(C))


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 4], [0, 0], "labels contain 4"),
        ([0, -1], [0, 0], "labels contain -1"),
        ([0, 1], [0, 255], "predictions contain 255"),
        ([0, 1], [0, -1], "predictions contain -1"),
        ([0, 1], [0], "differ"),
        ([0.0, 1.0], [0, 1], "float"),
        ([0, 1], [0.0, 1.0], "float"),
    ],
)
def test_what_cannot_be_counted(labels, predictions, message):
    with pytest.raises(InputError, match=message):
        confusion_matrix(np.array(labels), np.array(predictions), C)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_classes": 3.0}, "num_classes is 3.0. Give a whole number"),
        ({"num_classes": 0}, "num_classes is 0. Give a whole number from 1 on"),
        ({"num_classes": 3, "ignore_label": 1.5}, "ignore_label is 1.5. Give a whole number"),
    ],
)
def test_numbers_that_are_not_whole(fields, message):
    with pytest.raises(InputError, match=message):
        confusion_matrix(np.array([0, 1]), np.array([0, 1]), **fields)


MAPS = {
    "fcn8s": bilinear_deconv((9, 10), (37, 43), stride=8, kernel=16, offset=31),
    "align_corners": align_corners((6, 5), (37, 23)),
    "half_pixel": half_pixel((6, 5), (20, 40)),
    "shrink": align_corners((19, 15), (7, 8)),
    "none": identity((21, 14)),
}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("fcn8s", 16),
        ("none", 1000),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("align_corners", 5), ("half_pixel", 16), ("shrink", 5)]
        ),
    ],
)
def test_strips_predict_what_the_whole_map_does(name, rows):
    up = MAPS[name]
    logits = np.random.default_rng(0).standard_normal((3, *up.in_size, C)).astype(np.float32)
    labels, _ = labels_and_predictions(shape=(3, *up.out_size))
    full = np.asarray(up(jnp.asarray(logits)))
    want = full.argmax(-1)
    top = np.sort(full, axis=-1)
    assert (top[..., -1] - top[..., -2]).min() > 1e-5  # no near-ties
    got = jax.jit(lambda x: predict_labels(x, up, strip_rows=rows))(logits)
    assert got.dtype == jnp.uint8
    np.testing.assert_array_equal(got, want)
    run = jax.jit(lambda x, y: coarse_confusion(x, y, up, strip_rows=rows))
    counts = run(logits, labels)
    assert counts.dtype == jnp.int32
    np.testing.assert_array_equal(counts, count(labels, want))
    np.testing.assert_array_equal(counts, confusion_matrix(labels, got, C))


def test_ties_go_to_the_lower_class():
    up = align_corners((2, 2), (5, 5))
    logits = jnp.zeros((1, 2, 2, C)).at[..., 0].set(-1)
    assert (predict_labels(logits, up) == 1).all()


def test_coarse_confusion_skips_what_is_no_class():
    up = align_corners((3, 3), (8, 8))
    logits = jnp.zeros((2, 3, 3, C)).at[..., 2].set(1)
    labels = jnp.full((2, 8, 8), 255).at[0, 0, :4].set(jnp.array([1, 2, C, -1]))
    want = np.zeros((C, C))
    want[1, 2] = want[2, 2] = 1
    np.testing.assert_array_equal(
        jax.jit(coarse_confusion, static_argnums=2)(logits, labels, up), want
    )
    got = coarse_confusion(logits, labels, up, ignore_label=1)
    want[1, 2] = 0
    np.testing.assert_array_equal(got, want)


def test_scores_computed_by_hand():
    """3 classes: hits 5, 2, 1; truths 7, 3, 2; unions 7+7-5, 3+3-2, 2+2-1."""
    s = scores(np.array([[5, 1, 1], [1, 2, 0], [1, 0, 1]]))
    assert s["pixel_accuracy"] == pytest.approx(8 / 12)
    assert s["mean_accuracy"] == pytest.approx((5 / 7 + 2 / 3 + 1 / 2) / 3)
    assert s["iou"] == pytest.approx([5 / 9, 2 / 4, 1 / 3])
    assert s["mean_iou"] == pytest.approx((5 / 9 + 2 / 4 + 1 / 3) / 3)
    assert s["frequency_weighted_iou"] == pytest.approx((7 * 5 / 9 + 3 * 2 / 4 + 2 * 1 / 3) / 12)
    assert s["accuracy"] == pytest.approx([5 / 7, 2 / 3, 1 / 2])
    assert s["dice"] == pytest.approx([10 / 14, 4 / 6, 2 / 4])
    assert s["mean_dice"] == pytest.approx((10 / 14 + 4 / 6 + 2 / 4) / 3)
    assert s["share"] == pytest.approx([7 / 12, 3 / 12, 2 / 12])
    assert s["absent"] == "nan"
    assert all(type(v) is float for v in s.values() if not isinstance(v, list | str))


@pytest.mark.parametrize(
    ("absent", "mean_iou", "mean_accuracy"),
    [("nan", 0.5, 2 / 3), ("one", 0.625, 0.75), ("zero", 0.375, 0.5)],
)
def test_the_three_conventions_for_an_absent_class(absent, mean_iou, mean_accuracy):
    """Three classes of IoU 0.5 and a fourth that occurs nowhere."""
    confusion = np.array([[2, 1, 0, 0], [0, 2, 1, 0], [1, 0, 2, 0], [0, 0, 0, 0]])
    s = scores(jnp.asarray(confusion), absent=absent)
    assert s["mean_iou"] == pytest.approx(mean_iou)
    assert s["mean_accuracy"] == pytest.approx(mean_accuracy)
    assert s["pixel_accuracy"] == pytest.approx(6 / 9)  # these two do not change
    assert s["frequency_weighted_iou"] == pytest.approx(0.5)
    filled = {"nan": np.nan, "one": 1.0, "zero": 0.0}[absent]
    assert s["iou"] == pytest.approx([0.5, 0.5, 0.5, filled], nan_ok=True)
    assert s["dice"] == pytest.approx([2 / 3, 2 / 3, 2 / 3, filled], nan_ok=True)
    assert s["accuracy"] == pytest.approx([2 / 3, 2 / 3, 2 / 3, filled], nan_ok=True)
    assert s["share"] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


def test_a_class_that_is_only_predicted_has_an_iou_of_0():
    s = scores(np.array([[3, 1], [0, 0]]))
    assert s["iou"] == [0.75, 0.0] and s["mean_iou"] == 0.375
    assert s["mean_accuracy"] == 0.75


def test_counts_beyond_32_bits():
    s = scores(np.array([[3, 1], [0, 4]], np.int64) * 2**60 // 8)
    assert s["pixel_accuracy"] == pytest.approx(7 / 8)
    assert s["mean_iou"] == pytest.approx((3 / 4 + 4 / 5) / 2)


@pytest.mark.parametrize("absent", ["nan", "zero", "one"])
def test_nothing_labelled(absent):
    s = scores(np.zeros((3, 3), int), absent=absent)
    for key, value in s.items():
        if isinstance(value, float):
            assert np.isnan(value), key


@pytest.mark.parametrize(
    "confusion", [np.zeros((2, 3), int), np.zeros(4, int), np.zeros((2, 2)), -np.eye(2, dtype=int)]
)
def test_invalid_confusion_matrices_are_refused(confusion):
    with pytest.raises(InputError, match="confusion matrix"):
        scores(confusion)


def test_unknown_convention():
    with pytest.raises(InputError, match="'zero'"):
        scores(np.eye(2, dtype=int), absent="zeros")
