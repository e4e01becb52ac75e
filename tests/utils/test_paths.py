"""An impossible path is an input error at every entry point, in every version of Python."""

import pathlib

import numpy as np
import pytest

import jaxseg
from jaxseg.cli import run
from jaxseg.config import default_config, load_config, save_config
from jaxseg.data import DataInfo, VocFolder, load_classes, open_data, read_image, read_mask
from jaxseg.data.prepare import prepare_data
from jaxseg.errors import InputError
from jaxseg.evaluation.evaluator import evaluate_workdir
from jaxseg.export.stablehlo import export_program
from jaxseg.inference.batch import predict_images
from jaxseg.inference.image_files import find_images
from jaxseg.inference.network import Network
from jaxseg.pretrained import load_exported, save_exported, suggest
from jaxseg.pretrained.tensor_file import read_tensors
from jaxseg.report.explain import explain
from jaxseg.report.page import write_report
from jaxseg.training.loop import train
from jaxseg.training.stages import train_stages
from jaxseg.utils.paths import given_path

BAD = {
    "null": "a\0b",
    "name": "x" * 300,
    "long": "y/" * 3000,
    "half": "\ud800",
    "home": "~who/x",
}
MODEL = jaxseg.create_model("fcn8s_vgg16", 3, width=0.03, fc_channels=16)
CARD = {"network": "fcn8s_vgg16", "path": "x", "step": None}
INFO = DataInfo("three", ("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
NETWORK = Network(MODEL, {}, INFO, default_config().eval, CARD)


def config(**fields):
    c = default_config()
    for name, value in fields.items():
        section, _, field = name.partition("_")
        c[section][field] = value
    return c


def rooted(path):
    """Makes a path absolute, as a URL needs it."""
    return path if path.startswith("~") else f"/{path}"


def data(**fields):
    c = default_config().data
    c.update(fields)
    return c


DOORS = {
    "train": lambda path: train(default_config(), path),
    "train_stages": lambda path: train_stages([("one", default_config())], path),
    "checkpoint.folder": lambda path: train(config(checkpoint_folder=rooted(path)), "run"),
    "evaluate_workdir": evaluate_workdir,
    "load": jaxseg.load,
    "load_run": jaxseg.load_run,
    "load_exported": load_exported,
    "load_pretrained": lambda path: jaxseg.load_pretrained(MODEL, path),
    "suggest": suggest,
    "read_tensors": read_tensors,
    "save_exported": lambda path: save_exported(path, "fcn8s_vgg16", MODEL, {}),
    "predict": lambda path: jaxseg.predict(MODEL, {}, path),
    "Network.predict": NETWORK.predict,
    "photographs": lambda path: find_images([path], pathlib.Path("out")),
    "photographs out": lambda path: find_images([], pathlib.Path(path)),
    "predictions": lambda path: predict_images(NETWORK, [], path),
    "export": lambda path: export_program(NETWORK, path),
    "report": lambda path: write_report([path], "page.html"),
    "report out": lambda path: write_report(["run"], path),
    "explain": lambda path: explain([path], "out"),
    "explain out": lambda path: explain(["run"], path),
    "data.root": lambda path: open_data(data(name="folder", root=path), "train"),
    "data.train_split": lambda path: open_data(data(name="folder", train_split=path), "train"),
    "data.classes": lambda path: open_data(data(name="tfds", tfds_name="x", classes=path), "train"),
    "data.boxes": lambda path: open_data(data(crops="boxes", boxes=path), "train"),
    "prepare": lambda path: prepare_data(data(name="folder", root="."), path),
    "VocFolder": lambda path: VocFolder(path, "train"),
    "load_config": load_config,
    "save_config": lambda path: save_config(default_config(), path),
    "load_classes": load_classes,
    "read_image": read_image,
    "read_mask": lambda path: read_mask(path, 3),
}
WORDS = {
    "--config": ["train", "--config", "PATH"],
    "--workdir": ["train", "--config", "configs/quickstart.py", "--workdir", "PATH"],
    "evaluate": ["evaluate", "--workdir", "PATH"],
    "predict": ["predict", "--workdir", "run", "PATH", "--out", "out"],
    "predict --list": ["predict", "--workdir", "run", "--list", "PATH", "--out", "out"],
    "predict --weights": ["predict", "--weights", "PATH", "x.png", "--out", "out"],
    "convert": ["convert", "PATH", "--out", "out"],
    "convert --out": ["convert", "x", "--out", "PATH"],
    "export": ["export", "--weights", "x", "--out", "PATH"],
    "check": ["check", "--dataset", "folder", "--root", "PATH"],
    "browse": ["browse", "--dataset", "folder", "--root", "x", "--out", "PATH"],
    "report": ["report", "--workdir", "PATH", "--out", "page.html"],
    "benchmark": ["benchmark", "--config", "configs/quickstart.py", "--json", "PATH"],
    "init": ["train", "--config", "configs/quickstart.py", "--config.init.pretrained=PATH"],
    "ensemble": ["train", "--config", "configs/quickstart.py", "--config.eval.ensemble=PATH"],
}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, repository):
    """An empty current folder that must stay empty."""
    (tmp_path / "configs").symlink_to(repository / "configs")
    monkeypatch.chdir(tmp_path)
    yield
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]


def test_a_path_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given_path("a/b") == pathlib.Path("a/b")
    assert given_path(tmp_path) == tmp_path and given_path("~/a") == tmp_path / "a"
    with pytest.raises(InputError, match=r"^'x{60}\.\.\.' is not a valid path: .*\. Give"):
        given_path("x" * 300)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("bad", BAD)
def test_functions(elsewhere, door, bad):
    with pytest.raises(InputError):
        DOORS[door](BAD[bad])


# the two options for which a network is built take seconds each
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        pytest.param(
            bad,
            words,
            id=f"{bad}-{words}",
            marks=pytest.mark.slow if words in ("init", "ensemble") and bad != "null" else (),
        )
        for bad in BAD
        for words in WORDS
    ],
)
def test_commands(elsewhere, capsys, words, bad):
    assert run([word.replace("PATH", BAD[bad]) for word in WORDS[words]]) == 2
    error, fix = capsys.readouterr().err.encode("utf-8", "backslashreplace").splitlines()
    assert error.startswith(b"error: ") and fix.startswith(b"fix: ")
    assert np.frombuffer(error, np.uint8).size < 6600
