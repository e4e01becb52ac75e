"""`jaxseg.load`: one function for a run, a checkpoint, a converted folder and a published file."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
from caffe_writer import write_caffemodel
from test_load import NARROW, layers_of, make

import jaxseg
from jaxseg.cli import run
from jaxseg.errors import InputError
from jaxseg.pretrained.converters.source import Fit

CARD = {
    *("network", "path", "step", "classes", "data_set", "metrics", "source", "licence"),
    "preprocessing",
}
PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_a_run_and_its_checkpoint(finished):
    workdir, scores = finished
    network = jaxseg.load(workdir.path)
    model, variables = jaxseg.load_run(workdir.path)
    assert network.model == model
    assert_same(network.variables, variables)
    card = network.card
    assert set(card) == CARD and json.loads(json.dumps(card)) == card
    assert (card["network"], card["step"], card["data_set"]) == ("fcn8s_vgg16", 40, "scenes")
    assert card["classes"] == list(network.classes) == scores["class_names"]
    assert card["metrics"]["mean_iou"] == scores["mean_iou"]
    assert card["preprocessing"] == {
        "mean": list(model.preprocessing.mean),
        "std": list(model.preprocessing.std),
    }
    line = f"Network(fcn8s_vgg16, 6 classes, from {workdir.path}, step 40)"
    assert repr(network) == line
    there = jaxseg.load(workdir.checkpoints / "40")
    assert there.card == card
    assert_same(there.variables, variables)
    labels = network.predict(PHOTOGRAPH)
    np.testing.assert_array_equal(labels, jaxseg.predict(model, variables, PHOTOGRAPH))


def test_a_converted_folder(finished, tmp_path):
    out = tmp_path / "network"
    assert run(["convert", str(finished[0].path), "--out", str(out)]) == 0
    network = jaxseg.load(str(out))
    assert set(network.card) == CARD and network.card["source"] == "run"
    assert network.classes == jaxseg.load(finished[0].path).classes
    assert_same((network.model, network.variables), jaxseg.pretrained.load_exported(out))
    with pytest.raises(InputError, match="has no step 40"):
        jaxseg.load(out, 40)


@pytest.mark.slow
def test_a_published_file(tmp_path, monkeypatch):
    create = Fit.create
    monkeypatch.setattr(Fit, "create", lambda fit: create(fit, **NARROW))  # as narrow as the file
    path = tmp_path / "fcn8s.caffemodel"
    layers = layers_of(make()).items()
    write_caffemodel(path, [(name, "Convolution", [*blobs]) for name, blobs in layers])
    network = jaxseg.load(path)
    assert_same(network.variables, jaxseg.load_pretrained(make(), path))
    assert network.classes == tuple(f"class {i}" for i in range(5))
    assert network.card["source"] == "fcn8s.caffemodel"
    assert network.predict(PHOTOGRAPH).shape == (33, 47)


def test_no_network(finished, tmp_path):
    for name in ("pspnet_of_mars", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="There is no network"):
            jaxseg.load(name)
    with pytest.raises(InputError, match="without model.json .* or config.json"):
        jaxseg.load(tmp_path)
    with pytest.raises(InputError, match="no checkpoint '39'"):
        jaxseg.load(finished[0].path, 39)
    copy = tmp_path / "run"
    shutil.copytree(finished[0].path, copy, ignore=lambda *_: [*map(str, range(41)), "tensorboard"])
    with pytest.raises(InputError, match=f"{re.escape(str(copy))}.* contains no checkpoint"):
        jaxseg.load(copy)
