"""Two networks as one, a dense CRF after a network, and their config fields."""

import json

import numpy as np
import pytest

import jaxseg
from jaxseg.config import default_config, set_field, validate
from jaxseg.errors import InputError
from jaxseg.inference import protocol
from jaxseg.inference.crf.dense_crf import CRF, mean_field
from jaxseg.inference.ensemble import Ensemble, WithCRF
from jaxseg.inference.protocols import describe

IMAGE = np.random.default_rng(5).integers(0, 256, (6, 8, 3), np.uint8)


class Likely:
    """A network with fixed probabilities per size, which checks that it gets its own variables."""

    def __init__(self, seed, variables):
        self._seed, self._variables = seed, variables

    def named(self, name):
        return self

    def probabilities(self, variables, image, size=None):
        e = np.exp(self._values(variables, image, size))
        return e / e.sum(-1, keepdims=True)

    def labels(self, variables, image, size=None):
        return self.probabilities(variables, image, size).argmax(-1).astype(np.uint8)

    def _values(self, variables, image, size=None):
        assert variables == self._variables and image is IMAGE
        shape = size or image.shape[:2]
        return np.random.default_rng(self._seed).normal(0, 2, (*shape, 3)).astype(np.float32)


class WithLogits(Likely):
    logits = Likely._values


@pytest.mark.parametrize("size", [None, (4, 11)])
def test_mean_of_probabilities(size):
    one, other = Likely(1, "mine"), WithLogits(2, "its")
    both = Ensemble(one, other, "its")
    expected = (
        one.probabilities("mine", IMAGE, size) / 2 + other.probabilities("its", IMAGE, size) / 2
    )
    found = both.probabilities("mine", IMAGE, size)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    labels = both.labels("mine", IMAGE, size)
    assert labels.dtype == np.uint8 and labels.shape == (size or (6, 8))
    np.testing.assert_array_equal(labels, expected.argmax(-1))
    assert (labels != one.probabilities("mine", IMAGE, size).argmax(-1)).any()


def test_product_of_logits_that_are_not_negative():
    one, other = WithLogits(1, "mine"), WithLogits(2, "its")
    a, b = one.logits("mine", IMAGE), other.logits("its", IMAGE)
    assert (a < 0).any() and ((a < 0) & (b < 0)).any()
    scores = np.where(a > 0, a, 0) * np.where(b > 0, b, 0)
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    both = Ensemble(one, other, "its", "product")
    np.testing.assert_allclose(both.probabilities("mine", IMAGE), expected, rtol=1e-5)
    np.testing.assert_array_equal(both.labels("mine", IMAGE), expected.argmax(-1))
    large = WithLogits(1, "mine")
    large.logits = lambda *_: 1e3 * a  # their exponentials overflow
    assert np.isfinite(Ensemble(large, other, "its", "product").probabilities("mine", IMAGE)).all()


def test_boxes_by_name_of_photographs_without_names():
    config = fields(protocol="instances", crop=(32, 32), boxes="boxes.txt").eval
    with pytest.raises(
        InputError, match="eval.boxes is 'boxes.txt', but single images .* no names"
    ):
        protocol(None, config)


def test_bad_ensembles():
    with pytest.raises(InputError, match="rule is 'sum'"):
        Ensemble(WithLogits(1, 0), WithLogits(2, 0), 0, "sum")
    for pair in ((Likely(1, 0), WithLogits(2, 0)), (WithLogits(1, 0), Likely(2, 0))):
        with pytest.raises(InputError, match="one gives only probabilities"):
            Ensemble(*pair, 0, "product")


def test_crf_behind_a_network():
    network, crf = Likely(1, "mine"), CRF(1.5, 1.0, 6.0, 60.0, 1.0, 2, "symmetric")
    refined = WithCRF(network, crf)
    expected = mean_field(IMAGE, network.probabilities("mine", IMAGE), crf)
    np.testing.assert_array_equal(refined.probabilities("mine", IMAGE), expected)
    np.testing.assert_array_equal(refined.labels("mine", IMAGE), expected.argmax(-1))
    assert refined.probabilities("mine", IMAGE, (3, 5)).shape == (3, 5, 3)


def test_crf_of_an_image_that_is_too_large():
    class Even(Likely):
        def probabilities(self, variables, image, size=None):
            return np.broadcast_to(np.float32(1 / 3), (*size, 3))

    refined = WithCRF(Even(1, "mine"), CRF(1.5, 1.0, 6.0, 60.0, 1.0, 2, "symmetric"))
    problem = "of 3000×2000 pixels is too large for the dense CRF.* limit is 5,162,220"
    with pytest.raises(InputError, match=problem):
        refined.labels("mine", IMAGE, (2000, 3000))


def fields(**changes):
    config = default_config()
    for name, value in changes.items():
        set_field(config, f"eval.{name}", value)
    return config


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"protocol": "instances"}, "eval.protocol is 'instances', but eval.crop is None"),
        ({"windows": 20}, "eval.windows is 20, which has no effect while eval.protocol"),
        ({"overlap": "mean"}, "eval.overlap is 'mean', which has no effect"),
        ({"boxes": "b.txt"}, "eval.boxes is 'b.txt', which has no effect while eval.protocol"),
        ({"boxes": "b.txt", "protocol": "sliding", "crop": (9, 9)}, "eval.boxes is 'b.txt', which"),
        ({"min_side": 3, "protocol": "sliding", "crop": (9, 9)}, "eval.min_side is 3, which"),
        ({"scales": (2.0,), "protocol": "instances", "crop": (9, 9)}, "eval.scales is"),
        ({"overlap": "sum", "protocol": "instances", "crop": (9, 9)}, "eval.overlap is 'sum'"),
        ({"windows": 0, "protocol": "instances", "crop": (9, 9)}, "eval.windows is 0"),
        ({"ensemble_rule": "product"}, "ensemble_rule is 'product', which needs a second"),
        (
            {"ensemble_rule": "product", "ensemble": "x", "protocol": "sliding", "crop": (9, 9)},
            "ensemble_rule is 'product', which needs a second",
        ),
        ({"ensemble_rule": "sum", "ensemble": "x"}, "eval.ensemble_rule is 'sum'"),
        ({"crf": "bilateral"}, "eval.crf is 'bilateral'"),
    ],
)
def test_fields_that_do_not_go_together(changes, problem):
    with pytest.raises(InputError, match=problem):
        validate(fields(**changes))


def test_protocol_in_words():
    config = fields(
        protocol="instances", crop=(224, 224), ensemble="runs/fcn8s", crf="deconvnet", windows=30
    )
    validate(config)
    assert describe(config.eval) == (
        "windows of 224×224 around the first 30 proposals of at least 112 pixels, max of their "
        "logits, mean with runs/fcn8s, dense CRF as deconvnet"
    )


def test_a_folder_that_is_no_network(tmp_path):
    config = fields(ensemble=str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="There is no network .*nothing"):
        protocol(_Model(), config.eval)


class _Model:
    num_classes = 6


@pytest.mark.slow
def test_a_run_joined_with_itself_and_refined(finished):
    from jaxseg.evaluation.evaluator import evaluate_workdir

    workdir = finished[0].path
    alone = evaluate_workdir(workdir)
    joined = evaluate_workdir(workdir, fields={"eval.ensemble": str(workdir)})
    assert joined["iou"] == alone["iou"]
    assert joined["protocol"] == f"whole images, mean with {workdir}"
    for changes in (
        {"eval.ensemble": str(workdir), "eval.ensemble_rule": "product", "eval.crf": "densecrf"},
        {"eval.crf": "deconvnet", "eval.input_size": (64, 64)},
    ):
        refined = evaluate_workdir(workdir, fields=changes)
        assert refined["protocol"].endswith(f", dense CRF as {changes['eval.crf']}")
        assert refined["iou"] != alone["iou"]

    network = jaxseg.load(workdir)
    one = protocol(network.model, network.eval)
    network.eval.ensemble, network.eval.ensemble_rule = str(workdir), "product"
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    scores = np.maximum(one.logits(network.variables, image), 0) ** 2
    found = protocol(network.model, network.eval).probabilities(network.variables, image)
    expected = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(found, expected / expected.sum(-1, keepdims=True), atol=1e-4)


@pytest.mark.slow
def test_another_number_of_classes_is_refused_before_a_workdir_is_made(
    finished, tiny, tmp_path, shared_data
):
    from jaxseg.training.loop import train

    config = tiny({"eval.ensemble": str(finished[0].path), "data.name": "camvid"})
    config.data.root = str(shared_data / "camvid")
    config.eval.input_size = config.augment.crop = (32, 32)
    config.loss.class_weights = None
    with pytest.raises(InputError, match="has 6 classes, but the other one has 11"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    classes = json.loads(finished[0].classes.read_text())
    assert classes  # the other run was not changed


@pytest.mark.nightly
def test_deconvnet_is_scored_by_its_instances(tiny, tmp_path, monkeypatch):
    """From training to prediction through the command line, with proposals in the cache."""
    from jaxseg.data import proposals
    from jaxseg.evaluation.evaluator import evaluate_workdir
    from jaxseg.evaluation.trained_run import open_run
    from jaxseg.training.loop import train

    def halves(image):
        height, width = image.shape[:2]
        return np.array([[0, 0, height, width // 2], [0, width // 2, height, width]], np.int32)

    monkeypatch.setattr(proposals, "search", halves)
    changes = {
        "model.name": "deconvnet_vgg16", "model.width": 0.02, "model.fc_kernel": 1,
        "model.norm": None, "model.padding": None, "model.dropout": None,
        "model.fc_channels": 64, "eval.protocol": "instances", "eval.crop": (32, 32),
        "eval.min_side": 8, "train.steps": 2, "eval.every_steps": None,
        "model.bn_momentum": 0.0,  # statistics are those of the last step alone
    }  # fmt: skip
    scores = train(tiny(changes), tmp_path / "run")
    assert scores["protocol"].startswith(
        "windows of 32×32 around the first 50 proposals of at least 8"
    )
    again = evaluate_workdir(tmp_path / "run")
    assert again["iou"] == scores["iou"] or np.isnan(again["iou"]).any()
    mean = evaluate_workdir(tmp_path / "run", fields={"eval.overlap": "mean"})
    assert mean["protocol"].endswith("mean of their logits")

    # the same boxes from a file, without a proposer; then a single window over each photograph
    def none(image):
        raise AssertionError("proposals are given")

    monkeypatch.setattr(proposals, "search", none)
    monkeypatch.setattr(proposals, "cached", lambda kind, key, make: make())
    source, file = open_run(tmp_path / "run").source, tmp_path / "boxes.txt"
    names = [source.name(i) for i in range(len(source))]
    file.write_text("".join(f"{name} 0 0 16 32\n{name} 16 0 32 32\n" for name in names))
    given = evaluate_workdir(tmp_path / "run", fields={"eval.boxes": str(file)})
    assert f"proposals in {file} of 8 pixels" in given["protocol"]
    np.testing.assert_array_equal(given["iou"], again["iou"])
    file.write_text("".join(f"{name} 0 0 32 32\n" for name in names))
    whole = evaluate_workdir(tmp_path / "run", fields={"eval.boxes": str(file)})
    assert not np.array_equal(whole["iou"], again["iou"], equal_nan=True)

    file.write_text(f"{names[0]} 0 0 33 32\n")
    with pytest.raises(InputError, match=r"Line 1 of .*boxes.txt is '.* 33 32', but the image is"):
        evaluate_workdir(tmp_path / "run", fields={"eval.boxes": str(file)})
    with pytest.raises(InputError, match=f"boxes.txt has no box for the image '{names[1]}'"):
        file.write_text(f"{names[0]} 0 0 32 32\n")
        train(tiny(changes | {"eval.boxes": str(file)}), tmp_path / "other")
    assert not (tmp_path / "other").exists()
