"""A network of five bands from training to a program that runs without jaxseg."""

import json

import jax
import numpy as np
import pytest
from jax import export
from PIL import Image

import jaxseg
from jaxseg.cli import run

pytestmark = pytest.mark.slow


def test_bands_are_trained_scored_labelled_converted_and_exported(tmp_path, words, capsys):
    """Only the fourth band shows the class, so a good score proves that it is used."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i in range(12):
        label = np.kron(rng.integers(0, 2, (4, 4)), np.ones((16, 16), int)).astype(np.uint8)
        image = rng.integers(0, 3000, (64, 64, 5)).astype(np.uint16)
        image[..., 3] += label.astype(np.uint16) * 5000
        np.save(tmp_path / f"images/s{i}.npy", image)
        Image.fromarray(label).save(tmp_path / f"masks/s{i}.png")
    (tmp_path / "classes.txt").write_text("land\nwater\n")
    fields = {
        "data.name": "folder",
        "data.root": str(tmp_path),
        "data.split": "3:1",
        "data.channels": 5,
        "data.bits": 16,
        "data.mean": "(1500, 1500, 1500, 4000, 1500)",
        "data.std": "(866, 866, 866, 2600, 866)",
        "train.steps": 30,
        "loss.class_weights": "auto",
        "eval.every_steps": None,
        "eval.protocol": "sliding",
        "eval.crop": "(64, 64)",
    }
    work = tmp_path / "run"
    assert not run(words(work, fields))
    trained = json.loads((work / "scores.json").read_text())
    assert trained["mean_iou"] > 0.7
    assert not run(["evaluate", "--workdir", str(work)])
    out, image = tmp_path / "out", tmp_path / "images/s0.npy"
    assert not run(["predict", "--workdir", str(work), str(image), "--out", str(out), "--overlay"])
    labels = np.asarray(Image.open(out / "s0.png"))
    network = jaxseg.load(work)
    np.testing.assert_array_equal(labels, network.predict(image))
    assert not run(["convert", str(work), "--out", str(tmp_path / "network")])
    again = jaxseg.load(tmp_path / "network")
    np.testing.assert_array_equal(again.predict(np.load(image)), labels)
    program = tmp_path / "bands.hlo"
    size = ["--size", "64,64", "--output", "labels"]
    assert not run(["export", "--workdir", str(work), "--out", str(program), *size])
    called = export.deserialize(bytearray(program.read_bytes())).call(np.load(image)[None])
    whole = jaxseg.predict(network.model, network.variables, image)
    assert np.mean(np.asarray(jax.device_get(called))[0] != whole) < 0.001
    about = json.loads((tmp_path / "bands.hlo.json").read_text())["input"]
    assert (about["dtype"], about["shape"], about["channels"]) == ("uint16", ["n", 64, 64, 5], 5)
    capsys.readouterr()
