"""Filling a network from a file: reports and errors."""

import logging
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from caffe_writer import write_caffemodel

import jaxseg
from jaxseg import pretrained
from jaxseg.errors import InputError

NARROW = {"width": 0.02, "fc_channels": 200}


def make(name="fcn8s_vgg16", classes=5, **fields):
    return jaxseg.create_model(name, classes, **NARROW, **fields)


def layers_of(model):
    """Random blobs of a network as in Caffe, by layer."""
    rng = np.random.default_rng(0)
    images = jnp.zeros((1, 64, 64, 3))
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    layers = {}
    for name, p in params.items():
        height, width, inputs, outputs = p["kernel"].shape
        blobs = [
            rng.standard_normal((outputs, inputs, height, width)),
            rng.standard_normal(outputs),
        ]
        layers[name] = blobs
    for name, k in (("upscore2", 4), ("upscore_pool4", 4), ("upscore8", 16)):
        line = 1 - np.abs(np.arange(k) - (k - 1) / 2) / (k / 2)
        weight = np.zeros((model.num_classes, model.num_classes, k, k))
        weight[range(model.num_classes), range(model.num_classes)] = np.outer(line, line)
        layers[name] = [weight]
    return layers


@pytest.fixture(scope="module")
def layers():
    """The layers of an FCN-8s with five classes."""
    return layers_of(make())


@pytest.fixture
def write(layers, tmp_path):
    """`write(conv1_1=..., drop=[...])`: writes `layers`, some of them changed; returns the path."""

    def written(drop=(), **changed):
        path = tmp_path / "fcn8s.caffemodel"
        every = {k: v for k, v in (layers | changed).items() if k not in drop}
        write_caffemodel(path, [(n, "Convolution", [*b]) for n, b in every.items()])
        return path

    return written


def refusal(path, model, **how):
    """The error's problem and remedy; the problem names the file, and no path appears twice."""
    with pytest.raises(InputError) as caught:
        pretrained.load(model, path, **how)
    problem, remedy = caught.value.problem, caught.value.remedy
    assert str(path) in problem and problem.endswith(".") and remedy.endswith(".")
    return problem, remedy


def test_every_value_is_where_it_belongs(write, layers, caplog):
    variables, report = pretrained.load(make(), write())
    for name, p in variables["params"].items():
        weight, bias = layers[name]
        weight = weight[:, ::-1] if name == "conv1_1" else weight
        np.testing.assert_allclose(p["kernel"], weight.transpose(2, 3, 1, 0), rtol=1e-6)
        np.testing.assert_allclose(p["bias"], bias, rtol=1e-6)
        assert p["kernel"].dtype == p["bias"].dtype == jnp.float32
    assert report.used["params/fc6/kernel"] == ("fc6/0",)
    assert not report.kept
    assert set(report.unused) == {"upscore2/0", "upscore_pool4/0", "upscore8/0"}
    with caplog.at_level(logging.WARNING):
        jaxseg.load_pretrained(make(), write())
    assert not caplog.records  # nothing to say


def test_variables_outlive_the_file(write):
    """They are not views of the file."""
    path = write()
    variables = jaxseg.load_pretrained(make(), path)
    before = np.array(variables["params"]["fc6"]["kernel"])
    path.write_bytes(bytes(path.stat().st_size))
    np.testing.assert_array_equal(variables["params"]["fc6"]["kernel"], before)


def test_what_no_layer_takes_is_reported(write, caplog):
    path = write(aside=[np.ones((2, 2))])
    with caplog.at_level(logging.WARNING):
        jaxseg.load_pretrained(make(), path)
    assert "aside/0" in caplog.text
    _, report = pretrained.load(make(), path)
    assert report.unused["aside/0"] is None
    assert "1 of the file were not used (no layer of the network uses them): aside/0" in str(report)


def test_scores_that_are_reset(write):
    variables, report = pretrained.load(make(classes=7), write(), head="reset")
    assert "6 kept their initial values (the scores are reset): params/score_fr/bias" in str(report)
    scores = {"score_fr", "score_pool4", "score_pool3"}
    for name, p in variables["params"].items():
        if name in scores:
            assert p["kernel"].shape[-1] == 7 and not p["kernel"].any() and not p["bias"].any()
        else:
            assert p["kernel"].any() and p["bias"].any()
    assert {n.split("/")[1] for n in report.kept} == scores
    assert {n.split("/")[0] for n in report.unused} == scores | {
        "upscore2",
        "upscore_pool4",
        "upscore8",
    }


def test_another_number_of_classes(write):
    problem, remedy = refusal(write(), make(classes=7))
    assert "5 classes" in problem and "7" in problem
    assert "num_classes=5" in remedy and "head='reset'" in remedy


@pytest.mark.parametrize(
    ("model", "said", "mend"),
    [
        (lambda: make("fcn16s_vgg16"), "stride is 16", ", stride=8"),
        (lambda: make("fcn8s_atonce_vgg16"), "at_once is True", ", at_once=False"),
        (lambda: make(padding=1), "padding is 1", ", padding=100"),
        (lambda: make(norm="batch"), "norm is 'batch'", ", norm=None"),
        (lambda: make(normalization="imagenet"), "normalised with", ", normalization='caffe_vgg'"),
        (lambda: jaxseg.create_model("pspnet_resnet50", 5), "PSPNet", ""),
        (lambda: jaxseg.create_model("deconvnet_vgg16", 5), "DeconvNet", ""),
    ],
    ids=["stride", "at once", "padding", "norm", "normalization", "pspnet", "deconvnet"],
)
def test_another_network(write, model, said, mend):
    problem, remedy = refusal(write(), model())
    assert "an FCN in Caffe" in problem and said in problem
    assert f"jaxseg.create_model('fcn8s_vgg16', num_classes=5{mend})" in remedy


def test_the_suggested_call_creates_the_network(write, layers):
    """The CVPR paper's network needs fields other than the defaults."""
    names = {"score_fr": "score-fr", "score_pool4": "score-pool4", "score_pool3": "score-pool3"}
    names |= {"upscore2": "score2", "upscore_pool4": "score4", "upscore8": "upsample"}
    blobs = {new: layers[old] for old, new in names.items()}
    blobs["score2"] = [*blobs["score2"], np.ones(5)]
    path = write(drop=names, **blobs)
    _, remedy = refusal(path, make())
    call = re.search(r"jaxseg\.(create_model\(.*?\))", remedy)[1]
    model = eval(call, {"create_model": jaxseg.create_model})
    pretrained.load(model.clone(**NARROW), path)
    fit = pretrained.suggest(path)
    assert (fit.model, fit.num_classes) == ("fcn8s_vgg16", 5)
    assert fit.create(**NARROW) == model.clone(**NARROW)
    with pytest.raises(InputError, match="does not fit 'pspnet_resnet50'"):
        pretrained.suggest(path, "pspnet_resnet50")


def test_a_missing_tensor(write, layers):
    problem, _ = refusal(write(conv3_2=layers["conv3_2"][:1]), make())
    assert "'conv3_2/1'" in problem and "params/conv3_2/bias" in problem
    problem, _ = refusal(write(drop=["conv3_2"]), make())
    assert "'conv3_2/" in problem


@pytest.mark.parametrize(
    ("blob", "shape"), [(0, (3, 10)), (0, (1, 10, 3, 3)), (0, (10, 1, 3)), (1, (11,)), (1, (2, 5))]
)
def test_a_wrong_shape(write, layers, blob, shape):
    blobs = [*layers["conv5_2"]]
    blobs[blob] = np.ones(shape)
    problem, remedy = refusal(write(conv5_2=blobs), make())
    parameter = ("kernel", "bias")[blob]
    assert f"'conv5_2/{blob}' of shape {shape}" in problem
    want = str(((3, 3, 10, 10), (10,))[blob])
    assert f"params/conv5_2/{parameter}" in problem and want in problem
    assert "width" in remedy


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_no_numbers(write, layers, value):
    weight, bias = (np.array(b) for b in layers["fc7"])
    bias[1] = value
    problem, _ = refusal(write(fc7=[weight, bias]), make())
    assert "'fc7/1'" in problem and "params/fc7/bias" in problem and "finite" in problem


def test_values_that_are_no_numbers_may_stand_where_they_are_not_used(write):
    variables, _ = pretrained.load(make(), write(aside=[np.array([np.nan])]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["upscore2", "upscore_pool4", "upscore8"])
def test_an_upsampling_that_is_not_the_fixed_one(write, layers, name):
    """As in a file that was trained further."""
    (weight,) = layers[name]
    weight = weight.copy()
    weight[1, 2, 0, 0] = 0.01
    path = write(**{name: [weight]})
    problem, remedy = refusal(path, make())
    assert f"'{name}/0'" in problem and "bilinear" in problem
    if name == "upscore8":
        assert "head='reset'" in remedy
        refusal(path, make(upsampling="learned"))
    else:
        assert "upsampling='learned'" in remedy
        variables, _ = pretrained.load(make(upsampling="learned"), path)
        got = variables["params"][name]["kernel"]
        np.testing.assert_allclose(got, weight.transpose(2, 3, 0, 1), rtol=1e-6)
    pretrained.load(make(), path, head="reset")


def test_scales_of_the_pools_that_are_not_the_fixed_ones(write):
    model = make("fcn8s_atonce_vgg16")
    scales = {"scale_pool4": [np.full(10, 0.01)], "scale_pool3": [np.full(5, 0.0001)]}
    _, report = pretrained.load(model, write(**scales))
    assert "built into" in report.unused["scale_pool3/0"]
    scales["scale_pool3"] = [np.full(5, 0.0002)]
    problem, _ = refusal(write(**scales), model)
    assert "'scale_pool3/0'" in problem and "0.0001" in problem


def test_an_unknown_source(write):
    with pytest.raises(InputError, match="no source 'cafe'.*'caffe'"):
        pretrained.load(make(), write(), source="cafe")


def test_a_source_by_its_name_or_its_origin(write):
    for source in ("caffe", "caffe_fcn"):
        pretrained.load(make(), write(), source=source)
    problem, remedy = refusal(write(), make(), source="caffe_pspnet")
    assert "from 'caffe_pspnet'" in problem and "a PSPNet in Caffe" in remedy


def test_a_file_of_no_known_kind(tmp_path):
    path = tmp_path / "x.caffemodel"
    write_caffemodel(path, [(f"layer{i}", "Convolution", [np.ones(3)]) for i in range(9)])
    problem, remedy = refusal(path, make())
    assert "9 tensors" in problem and "layer0/0, layer1/0" in problem
    for title in ("an FCN in Caffe", "a PSPNet in Caffe", "an ImageNet VGG16 in Caffe"):
        assert title in remedy


def test_what_to_do_with_the_head(write):
    with pytest.raises(InputError, match="head is 'rest'.*'keep', 'reset'"):
        pretrained.load(make(), write(), head="rest")


PEAK = """
import pathlib, sys
import jax
import jaxseg

def status(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

model = jaxseg.create_model("fcn8s_vgg16", 5, width=0.5)
jax.numpy.zeros(3).block_until_ready()
pathlib.Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
before = status("VmHWM")
variables = jaxseg.load_pretrained(model, sys.argv[1])
jax.block_until_ready(variables)
print(status("VmHWM") - before)
"""


@pytest.mark.slow
def test_memory_is_below_twice_the_size_of_the_file(tmp_path):
    if not pathlib.Path("/proc/self/clear_refs").exists():
        pytest.skip("reads Linux's account of a process")
    path = tmp_path / "fcn8s.caffemodel"
    blobs = layers_of(jaxseg.create_model("fcn8s_vgg16", 5, width=0.5))
    write_caffemodel(
        path, [(n, "Convolution", [np.float32(a) for a in b]) for n, b in blobs.items()]
    )
    words = [sys.executable, "-c", PEAK, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    peak, size = int(done.stdout), path.stat().st_size
    assert size > 100e6
    assert size < peak < 2 * size  # the parameters themselves have the size of the file
