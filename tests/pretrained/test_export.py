"""`python -m jaxseg convert`: writes a network's folder, or a two-line error and nothing else."""

import hashlib
import json
import os
import re

import jax
import numpy as np
import pytest
from caffe_writer import write_caffemodel
from damage import mutated
from PIL import Image
from test_load import NARROW, layers_of, make

import jaxseg
from jaxseg.cli import run
from jaxseg.pretrained import load_exported

FIELDS = [f"--config.model.{field}={value}" for field, value in NARROW.items()]


@pytest.fixture(scope="module")
def layers():
    return layers_of(make())


@pytest.fixture
def source(tmp_path, layers):
    """A .caffemodel of a narrow FCN-8s of five classes."""
    path = tmp_path / "in" / "fcn8s.caffemodel"
    path.parent.mkdir()
    write_caffemodel(path, [(name, "Convolution", [*blobs]) for name, blobs in layers.items()])
    return path


@pytest.fixture
def refused(tmp_path, capsys):
    """`refused(words, pattern)`: checks for a two-line error that matches the pattern, and that
    nothing is written."""

    def check(words, pattern):
        before = sorted(tmp_path.rglob("*"))
        assert run([str(word) for word in ["convert", *words]]) == 2
        out, err = capsys.readouterr()
        assert (out, sorted(tmp_path.rglob("*"))) == ("", before)
        assert re.fullmatch(r"error: .+\nfix: .+\n", err), err
        assert re.search(pattern, err.replace("\n", " ")), err

    return check


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_a_file_becomes_a_folder(source, tmp_path, capsys):
    out = tmp_path / "new" / "fcn8s"
    words = ["--config.model.dropout=0.1", "--config.model.dtype", "bfloat16"]
    assert run(["convert", str(source), "--out", str(out), *FIELDS, *words]) == 0
    model, variables = load_exported(out)
    assert model == make(dropout=0.1, dtype="bfloat16")
    assert_same(variables, jaxseg.load_pretrained(make(), source))
    about = json.loads((out / "model.json").read_text())["source"]
    assert about["file"] == "fcn8s.caffemodel"
    assert about["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (about["head"], about["licence"]) == ("keep", None)
    printed = capsys.readouterr().out
    assert re.match(rf"{source} is .*Caffe.*: it filled 36 of 36 parameters;", printed)
    assert printed.endswith(f"{out}: fcn8s_vgg16 of 5 classes\n")
    assert os.listdir(out.parent) == ["fcn8s"]


def test_scores_for_other_classes(source, tmp_path, refused, capsys):
    out = tmp_path / "out"
    words = [source, "--out", out, "--model", "fcn8s_vgg16", "--classes", "9", *FIELDS]
    refused(words, "has 5 classes, but the network has 9.*head='reset'")
    assert run([str(w) for w in ["convert", *words, "--head", "reset"]]) == 0
    model, variables = load_exported(out)
    assert model == make(classes=9)
    assert variables["params"]["score_fr"]["kernel"].shape[-1] == 9
    assert "6 kept their initial values (the scores are reset)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_becomes_a_folder_with_the_names_of_its_classes(finished, tmp_path, restored, tiny):
    workdir, _ = finished
    assert run(["convert", str(workdir.path), "--out", str(tmp_path / "out")]) == 0
    model, variables = load_exported(tmp_path / "out")
    state, _ = restored(workdir.path, tiny())
    assert_same(variables, state.variables)
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert about["class_names"] == json.loads(workdir.scores.read_text())["class_names"]
    assert about["source"]["sha256"] is None
    assert about["source"]["notes"] == ["These are the weights of step 40."]

    out = tmp_path / "again"  # converts the folder itself, which has no names for new classes
    words = ["convert", str(tmp_path / "out"), "--out", str(out), "--head=reset", "--classes=3"]
    assert run(words) == 0
    assert json.loads((out / "model.json").read_text())["class_names"] is None


@pytest.mark.slow
def test_a_classifier_does_not_say_how_many_classes(tmp_path, refused, capsys):
    """A narrow VGG16, from which a network of any number of classes can start."""
    blobs = {k: v for k, v in layers_of(make(padding=1)).items() if not k.startswith(("s", "u"))}
    rng = np.random.default_rng(0)
    widths = [blobs["conv5_3"][0].shape[0] * 49, 4, 4, 10]
    for name, inputs, outputs in zip(("fc6", "fc7", "fc8"), widths[:-1], widths[1:], strict=True):
        blobs[name] = [rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs)]
    path, out = tmp_path / "vgg16.caffemodel", tmp_path / "out"
    write_caffemodel(path, [(name, "Convolution", [*b]) for name, b in blobs.items()], "v1")
    words = [path, "--out", out, "--model", "fcn32s_vgg16", *FIELDS, "--config.model.padding=1"]
    refused(words, "no logits layer for fcn32s_vgg16.*--classes N")
    assert run([str(w) for w in ["convert", *words, "--classes", "7"]]) == 0
    model, _ = load_exported(out)
    assert model == make("fcn32s_vgg16", 7, padding=1)
    assert "the logits layer of the ImageNet classes): fc8/0, fc8/1" in capsys.readouterr().out


OTHERS = {
    "text": (lambda p: p.write_text("conv1_1 0.5\n" * 99), "is a text file, not a weight file"),
    "image": (lambda p: Image.new("RGB", (9, 9)).save(p, "PNG"), "is an image"),
    "nothing": (lambda p: p.write_bytes(b""), "is empty"),
    "noise": (lambda p: p.write_bytes(bytes(range(256)) * 9), "is not a complete .caffemodel"),
    "missing": (lambda p: None, "There is no file"),
    "folder": (lambda p: p.mkdir(), "without model.json"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_invalid_sources_of_weights(tmp_path, refused, case):
    write, message = OTHERS[case]
    path = tmp_path / "vgg16.caffemodel"
    write(path)
    words = [path, "--model", "fcn8s_vgg16", "--out", tmp_path / "out"]
    refused(words, f"{path} {message}|{message} {path}|{path} is a folder {message}")


def test_what_is_wrong_is_said_before_anything_is_written(source, tmp_path, layers, refused):
    out = tmp_path / "out"
    refused([source, "--out", out], "has shape .* and cannot be filled from .*width")
    refused(
        [source, "--out", out, "--config.optim.lr=1"], "convert does not accept --config.optim.lr"
    )
    refused(
        [source, "--out", out, "--config.model.name=x"],
        "convert does not accept --config.model.name",
    )
    refused([source, "--out", out, "--config.model.widht=1"], "widht.*'model.width'")
    for words, pattern in [
        (["--model", "fcn8s"], "does not fit 'fcn8s'.*fcn8s_vgg16"),
        (["--model", "pspnet_resnet50"], "does not fit 'pspnet_resnet50'"),
        (["--source", "cafe"], "no source 'cafe'.*'caffe'"),
        (["--source", "semseg"], "none of the files .* 'semseg'"),
        (["--head", "rest"], "head is 'rest'.*'reset'"),
        (["--classes", "1"], "num_classes is 1"),
        (["--classes", "0"], "num_classes is 0"),
        (["--clases", "5"], "no option --clases.*'--classes'"),
        (["--config.model.padding=1"], "padding is 1.*, padding=100.;"),
        (["--config.model.normalization=imagenet"], "normalised with.*normalization='caffe_vgg'.;"),
    ]:
        refused([source, "--out", out, *FIELDS, *words], pattern)
    for taken in (source, source.parent):
        refused([source, "--out", taken, *FIELDS], f"{taken} already")
    layers = layers | {"fc7": [np.full_like(layers["fc7"][0], np.nan), layers["fc7"][1]]}
    write_caffemodel(source, [(name, "Convolution", [*blobs]) for name, blobs in layers.items()])
    refused([source, "--out", out, *FIELDS], "fc7/0' .* not finite.*params/fc7/kernel")


@pytest.mark.slow
def test_damaged_files_end_in_two_lines(source, tmp_path, capsys):
    rng, whole, ends = np.random.default_rng(0), source.read_bytes(), []
    for i in range(200):
        source.write_bytes(mutated(rng, [whole]))
        ends.append(run(["convert", str(source), "--out", str(tmp_path / str(i)), *FIELDS]))
        out, err = capsys.readouterr()
        assert (ends[-1], err) == (0, "") or re.fullmatch(r"error: .+\nfix: .+\n", err)
        assert (tmp_path / str(i)).exists() == (ends[-1] == 0)
    assert set(ends) == {0, 2}
    assert not [name for name in os.listdir(tmp_path) if "unfinished" in name]
