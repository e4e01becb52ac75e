"""The scores printed in other packages' documentation, and those that the packages compute."""

import numpy as np
import pytest

from jaxseg.metrics import confusion_matrix, scores

# Hugging Face's `evaluate`, metric mean_iou: three maps of 10 classes, 255 ignored.
PREDICTED = (
    [[1, 2], [3, 4], [5, 255]],
    [[2, 7], [9, 2], [3, 6]],
    [[2, 2, 3], [8, 2, 4], [3, 255, 2]],
)
TRUE = ([[0, 3], [5, 4], [6, 255]], [[1, 7], [9, 2], [3, 6]], [[1, 2, 2], [8, 2, 1], [3, 255, 1]])


def confusion(labels, predictions, classes, ignore_label=255):
    """The confusion matrix over all images; predictions at ignored labels may be anything."""
    total = np.zeros((classes, classes), np.int64)
    for label, prediction in zip(labels, predictions, strict=True):
        label, prediction = np.array(label), np.array(prediction)
        prediction = np.where(label == ignore_label, 0, prediction)
        total += np.asarray(confusion_matrix(label, prediction, classes, ignore_label=ignore_label))
    return total


def test_hugging_face_mean_iou():
    s = scores(confusion(TRUE, PREDICTED, 10))
    assert s["mean_iou"] == pytest.approx(0.4775, abs=1e-12)
    assert s["mean_accuracy"] == pytest.approx(0.5916666666666666, abs=1e-12)
    assert s["pixel_accuracy"] == pytest.approx(0.5263157894736842, abs=1e-12)
    assert s["iou"] == pytest.approx([0, 0, 0.375, 0.4, 0.5, 0, 0.5, 1, 1, 1])
    assert s["accuracy"] == pytest.approx([0, 0, 0.75, 2 / 3, 1, 0, 0.5, 1, 1, 1])


@pytest.mark.parametrize(
    ("true", "predicted", "key", "want"),
    [
        # scikit-learn: confusion_matrix, jaccard_score, f1_score, balanced_accuracy_score
        ([2, 0, 2, 2, 0, 1], [0, 0, 2, 2, 0, 2], "confusion", [[2, 0, 0], [0, 0, 1], [1, 0, 2]]),
        ([0, 1, 2, 2], [0, 2, 1, 2], "iou", [1, 0, 1 / 3]),
        ([0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1], "dice", [0.8, 0, 0]),
        ([0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1], "mean_dice", 0.26666666666666666),
        ([0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1], "mean_accuracy", 0.625),
        # torchmetrics: MulticlassJaccardIndex, MulticlassAccuracy, MulticlassF1Score
        ([2, 1, 0, 0], [2, 1, 0, 1], "mean_iou", 0.6667),
        ([2, 1, 0, 0], [2, 1, 0, 1], "mean_accuracy", 0.8333),
        ([2, 1, 0, 0], [2, 1, 0, 1], "accuracy", [0.5, 1, 1]),
        ([2, 1, 0, 0], [2, 1, 0, 1], "mean_dice", 0.7778),
    ],
)
def test_documented_examples(true, predicted, key, want):
    counts = confusion([true], [predicted], max(true) + 1)
    got = counts.tolist() if key == "confusion" else scores(counts)[key]
    assert got == (want if key == "confusion" else pytest.approx(want, abs=1e-4))


@pytest.fixture(scope="module")
def case():
    """Labels, predictions and their confusion matrix: 6 classes, of which class 4 is absent."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 3, 5], size=(3, 40, 50), p=[0.5, 0.3, 0.1, 0.08, 0.02])
    labels[rng.random(labels.shape) < 0.1] = 255
    guess = rng.choice([0, 1, 2, 3, 5], size=labels.shape)
    predictions = np.where((rng.random(labels.shape) < 0.6) & (labels != 255), labels, guess)
    return labels, predictions, confusion(labels, predictions, 6)


def test_scikit_learn(case):
    metrics = pytest.importorskip("sklearn.metrics")
    labels, predictions, counts = case
    true, predicted = labels[labels != 255], predictions[labels != 255]
    np.testing.assert_array_equal(
        metrics.confusion_matrix(true, predicted, labels=range(6)), counts
    )
    for absent, zero in (("zero", 0), ("one", 1)):
        ours = scores(counts, absent=absent)
        how = {"labels": list(range(6)), "average": None, "zero_division": zero}
        assert ours["iou"] == pytest.approx(metrics.jaccard_score(true, predicted, **how))
        assert ours["dice"] == pytest.approx(metrics.f1_score(true, predicted, **how))
        assert ours["accuracy"] == pytest.approx(metrics.recall_score(true, predicted, **how))
    ours = scores(counts)
    assert ours["pixel_accuracy"] == pytest.approx(metrics.accuracy_score(true, predicted))
    assert ours["mean_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(true, predicted))


def test_torchmetrics(case, torch):
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    labels, predictions, counts = case
    true, predicted = torch.tensor(labels), torch.tensor(predictions)
    how = {"num_classes": 6, "ignore_index": 255}
    ours = scores(counts, absent="zero")
    got = metrics.multiclass_confusion_matrix(predicted, true, **how)
    np.testing.assert_array_equal(got.numpy(), counts)
    got = metrics.multiclass_jaccard_index(predicted, true, average="none", **how)
    assert ours["iou"] == pytest.approx(got.tolist(), abs=1e-6)
    got = metrics.multiclass_f1_score(predicted, true, average="none", **how)
    assert ours["dice"] == pytest.approx(got.tolist(), abs=1e-6)


def test_cityscapes_scripts(case):
    """Our classes are six of its own; it does not count pixels of classes that it ignores."""
    peer = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    ids = [7, 8, 11, 12, 13, 17]
    counts = np.zeros((34, 34), np.int64)
    counts[np.ix_(ids, ids)] = case[2]
    counts[4, ids] = 1000

    class Arguments:
        evalLabels = list(range(34))

    got = {k: peer.getIouScoreForLabel(k, counts, Arguments) for k in ids}
    ours = scores(case[2])
    assert ours["iou"] == pytest.approx(list(got.values()), nan_ok=True) and np.isnan(got[13])
    assert ours["mean_iou"] == pytest.approx(peer.getScoreAverage(got, Arguments))
