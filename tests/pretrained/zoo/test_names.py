"""A name of the zoo is accepted wherever a workdir or a file is."""

import dataclasses
import errno
import json
import os
import shutil
import threading

import jax
import numpy as np
import pytest
from file_server import serving
from PIL import Image

import jaxseg
from jaxseg.cli import run
from jaxseg.cli.options import embedded_name
from jaxseg.config import default_config
from jaxseg.data import Scenes
from jaxseg.data.relabeled import numbered_as
from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError
from jaxseg.evaluation.evaluator import evaluate_workdir
from jaxseg.inference.network import Network
from jaxseg.inference.protocols import protocol
from jaxseg.pretrained import folder as folder_module
from jaxseg.pretrained.folder import read_folder
from jaxseg.pretrained.init import starting_variables
from jaxseg.pretrained.read import read_weights
from jaxseg.pretrained.zoo import rows
from jaxseg.pretrained.zoo.cache import converted_folder, files_folder

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
SMALL = {"data.scenes_eval": 2, "data.scenes_size": (32, 48)}


def test_loaded_once_and_then_without_a_network(zoo, monkeypatch, capfd):
    row, seen = zoo
    first = jaxseg.load(row.name)
    assert "licence of tiny_fcn_scenes: research only" in capfd.readouterr().err
    monkeypatch.setenv("JAXSEG_OFFLINE", "1")
    second = jaxseg.load("tiny")
    assert len(seen) == 1 and first.model == second.model
    jax.tree.map(np.testing.assert_array_equal, first.variables, second.variables)
    assert first.classes == row.classes and first.info.palette == row.palette
    assert first.eval.fit == (96, 64) and not capfd.readouterr().err
    card = first.card
    assert (card["data_set"], card["metrics"]) == ("scenes", {"mean_iou": 0.25})
    assert (card["source"], card["licence"]) == (row.file, "research only")
    assert first.predict(IMAGE).shape == (40, 56)


def test_a_path_wins_over_a_name(zoo, tmp_path, monkeypatch):
    row, seen = zoo
    jaxseg.load(row.name)
    (folder,) = [f for f in converted_folder().iterdir() if f.is_dir()]
    shutil.copytree(folder, tmp_path / row.name)
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    assert jaxseg.load(row.name).card["path"] == str(tmp_path / row.name)
    assert len(seen) == 1
    shutil.rmtree(tmp_path / row.name)
    (tmp_path / row.name).mkdir()
    for use in (jaxseg.load, read_weights):
        with pytest.raises(InputError, match="is a folder without model.json") as caught:
            use(row.name)
        assert f"Rename the folder, which hides the network '{row.name}'" in caught.value.remedy


def test_unknown_names():
    with pytest.raises(InputError, match="There is no network 'pspnet_r50_ade'") as caught:
        jaxseg.load("pspnet_r50_ade")
    assert "pspnet_r50_ade20k" in caught.value.remedy
    with pytest.raises(InputError, match="There is no network 'resnet55_imagenet'") as caught:
        jaxseg.load_pretrained(jaxseg.create_model("fcn_resnet50", 2), "resnet55_imagenet")
    assert "resnet50_imagenet" in caught.value.remedy


@pytest.mark.slow
def test_a_start_by_name(zoo):
    row, _ = zoo
    model = jaxseg.create_model("fcn_resnet18", 3, width=1 / 16)
    config = default_config()
    config.init.pretrained = row.name
    variables, report = starting_variables(model, config.init, 0, (32, 48))
    want = jaxseg.load(row.name).variables["params"]["backbone"]
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["backbone"], want)
    assert "The weights have 6 classes, this run has 3" in report


@pytest.mark.slow
def test_an_ensemble_by_name(zoo):
    row, _ = zoo
    network = jaxseg.load(row.name)
    config = network.eval.copy_and_resolve_references()
    alone = protocol(network.model, config).probabilities(network.variables, IMAGE)
    config.ensemble = row.name
    joined = protocol(network.model, config).probabilities(network.variables, IMAGE)
    np.testing.assert_allclose(joined, alone, atol=1e-6)


@pytest.mark.slow
def test_evaluated_by_its_own_protocol(zoo, capsys):
    row, _ = zoo
    scores = evaluate_workdir(row.name, fields=SMALL)
    assert scores["protocol"] == "whole images, scaled to fit 96×64"
    assert scores["published"]["mean_iou"] == 0.25
    source = Scenes(0, 2, (32, 48), stream="eval")
    network = jaxseg.load(row.name)
    right = total = 0
    for example in (source[0], source[1]):
        known = example.label != 255
        right += int((network.predict(example.image) == example.label)[known].sum())
        total += int(known.sum())
    assert scores["pixel_accuracy"] == pytest.approx(right / total)
    words = ["evaluate", "--weights", row.name, "--config.data.scenes_eval=2"]
    assert run([*words, "--config.data.scenes_size=(32, 48)"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("mean IoU")]
    assert lines[at + 1].startswith("published               0.2500")


def test_predict_by_name_and_from_an_address(zoo, tmp_path, monkeypatch, capsys):
    row, _ = zoo
    (tmp_path / "pictures").mkdir()
    Image.fromarray(IMAGE).save(tmp_path / "pictures" / "street.png")
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path / "pictures") as (url, _, _):
        assert run(["predict", "--weights", row.name, f"{url}/a/street.png?x=1"]) == 0
        out = capsys.readouterr().out
        assert run(["predict", "--weights", row.name, f"{url}/none.png"]) == 2
        monkeypatch.setenv("JAXSEG_OFFLINE", "1")
        assert run(["predict", "--weights", row.name, f"{url}/street.png"]) == 2
    assert "network: tiny_fcn_scenes, 6 classes: " in out
    assert "predictions: 1 image labelled" in out
    labels = np.asarray(Image.open(tmp_path / "predictions" / "street.png"))
    np.testing.assert_array_equal(labels, jaxseg.load(row.name).predict(IMAGE))
    errors = capsys.readouterr().err
    assert "/none.png cannot be downloaded" in errors
    assert "/street.png cannot be downloaded, because JAXSEG_OFFLINE is set." in errors


def test_the_embedded_network_is_the_default(zoo, tmp_path, monkeypatch, capsys):
    row, _ = zoo
    Image.fromarray(IMAGE).save(tmp_path / "street.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rows, "EMBEDDED", tmp_path / "embedded")
    assert run(["predict", "street.png"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert (
        error[0]
        == "error: No network is given, and this installation of jaxseg has no built-in one."
    )
    assert len(error) == 2 and not (tmp_path / "predictions").exists()
    words = ["convert", row.name, "--out", str(tmp_path / "embedded"), "--dtype", "float16"]
    assert run(words) == 0
    capsys.readouterr()
    assert run(["predict", "street.png"]) == 0
    out = capsys.readouterr().out
    assert embedded_name(tmp_path / "embedded") == "tiny_fcn_scenes"  # also on the page of serve
    assert (
        f"network: tiny_fcn_scenes (built-in, research only), 6 classes: {', '.join(row.classes)}"
        in out
    )
    labels = np.asarray(Image.open(tmp_path / "predictions" / "street.png"))
    np.testing.assert_array_equal(labels, jaxseg.load(tmp_path / "embedded").predict(IMAGE))
    assert (tmp_path / "predictions" / "street.overlay.jpg").is_file()
    assert run(["predict", "street.png", "--no-overlay", "--out", "labels"]) == 0
    assert not (tmp_path / "labels" / "street.overlay.jpg").exists()


def test_models(zoo, capsys):
    row, _ = zoo
    assert run(["models", "--data", "scenes"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[1].split()[:4] == [row.name, "scenes", "6", "0.2500"]
    assert "yes" not in table[1] and table[-1].endswith("0 in the cache")
    jaxseg.load(row.name)
    assert run(["models", "tiny", "--format", "json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["cached"] and listed["classes"] == list(row.classes)
    assert {"name", "url", "data", "classes", "mean_iou", "licence"} <= listed.keys()
    assert run(["models", "--data", "mars"]) == 2
    assert "No network is trained on a data set 'mars'" in capsys.readouterr().err


def test_a_file_of_another_network(zoo, monkeypatch):
    row, _ = zoo
    other = dataclasses.replace(row, classes=row.classes[:-1], palette=row.palette[:-1])
    monkeypatch.setattr(rows, "rows", lambda: (other,))
    rows._by_name.cache_clear()
    with pytest.raises(InputError, match="has 6 classes, but tiny_fcn_scenes has 5"):
        jaxseg.load(row.name)


def test_a_damaged_file_without_a_checksum_does_not_stay(zoo, monkeypatch):
    """A login page of a hotel's network, or half a file, must not be taken for the weights."""
    row, seen = zoo
    other = dataclasses.replace(row, checksum=None)
    monkeypatch.setattr(rows, "rows", lambda: (other,))
    rows._by_name.cache_clear()
    files_folder().mkdir(parents=True)
    (files_folder() / row.file).write_text("<html>Please log in</html>")
    with pytest.raises(InputError, match=f"It is kept as .*{row.file}.wrong") as caught:
        jaxseg.load(row.name)
    assert "Run the command again" in caught.value.remedy and not seen
    assert (files_folder() / f"{row.file}.wrong").read_text().startswith("<html>")
    assert jaxseg.load(row.name).classes == row.classes and len(seen) == 1


def test_a_full_disk_or_a_killed_process_in_the_conversion(zoo, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    row, seen = zoo
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "save_file", full)
        with pytest.raises(InputError, match="No space left") as caught:
            jaxseg.load(row.name)
    assert "Set JAXSEG_CACHE" in caught.value.remedy
    (lock,) = converted_folder().iterdir()  # nothing half-written
    left = lock.with_name(lock.name.replace(".lock", ".99999999.unfinished"))
    left.mkdir()
    jaxseg.load(row.name)
    assert len(seen) == 1 and not left.exists()


def test_a_damaged_conversion_says_which_folder_to_remove(zoo):
    row, seen = zoo
    jaxseg.load(row.name)
    (folder,) = [f for f in converted_folder().iterdir() if f.is_dir()]
    file = folder / "variables.safetensors"
    data = bytearray(file.read_bytes())
    data[-7] ^= 1
    file.write_bytes(data)
    for use in (jaxseg.load, Network.from_pretrained, read_weights):
        with pytest.raises(InputError, match="is damaged: the checksum of") as caught:
            use(row.name)
        assert f"Remove {folder}, and run the same command again" in caught.value.remedy
    shutil.rmtree(folder)
    assert jaxseg.load(row.name).classes == row.classes and len(seen) == 1


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_saved_and_loaded_again(zoo, tmp_path, dtype):
    row, _ = zoo
    network = jaxseg.load(row.name)
    network.save_pretrained(tmp_path / "saved", dtype)
    again = Network.from_pretrained(tmp_path / "saved")
    rounded = jax.tree.map(lambda a: np.asarray(a.astype(dtype), np.float32), network.variables)
    jax.tree.map(np.testing.assert_array_equal, again.variables, rounded)
    assert (again.model, again.info) == (network.model, network.info)
    assert again.eval.to_dict() == network.eval.to_dict()
    assert again.card | {"path": 0, "source": 0} == network.card | {"path": 0, "source": 0}
    about = json.loads((tmp_path / "saved" / "model.json").read_text())
    assert about["format"] == (1 if dtype == "float32" else 2)
    size = (tmp_path / "saved" / "variables.safetensors").stat().st_size
    values = sum(a.size for a in jax.tree.leaves(network.variables))
    assert size < values * (4 if dtype == "float32" else 2) + 20_000


@pytest.mark.slow
def test_values_that_float16_cannot_hold_stay_float32(zoo, tmp_path):
    network = jaxseg.load(zoo[0].name)
    params = network.variables["params"] | {}
    first = next(iter(params))
    params[first] = jax.tree.map(lambda a: a + 1e6, params[first])
    large = network.variables | {"params": params}
    dataclasses.replace(network, variables=large).save_pretrained(tmp_path / "x", "float16")
    assert json.loads((tmp_path / "x/model.json").read_text())["format"] == 3
    again = jaxseg.load(tmp_path / "x").variables["params"]
    for layer, arrays in params.items():
        if layer != first:
            arrays = jax.tree.map(lambda a: np.asarray(a).astype(np.float16), arrays)
        jax.tree.map(np.testing.assert_array_equal, again[layer], arrays)


def test_threads_convert_once(zoo):
    row, seen = zoo
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(jaxseg.load(row.name))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(seen) == 1
    assert len([f for f in converted_folder().iterdir() if f.is_dir()]) == 1


def test_classes_in_another_order_are_renumbered():
    source = Scenes(0, 1, (24, 24))
    names = source.info.class_names
    turned = DataInfo("other", tuple(n.upper() for n in names[::-1]), source.info.palette[::-1])
    there = numbered_as(source, turned)
    assert there.info.class_names == turned.class_names
    label = source[0].label
    known = label != 255
    np.testing.assert_array_equal(there[0].label[known], len(names) - 1 - label[known])
    assert (there[0].label[~known] == 255).all() and not known.all()
    assert numbered_as(source, source.info) is source
    with pytest.raises(InputError, match="but the network has 2 other ones: missing are dog"):
        numbered_as(source, DataInfo("pets", ("dog", "cat"), ((0, 0, 0), (1, 1, 1))))


def test_a_saved_folder_keeps_the_network_s_protocol(zoo):
    jaxseg.load(zoo[0].name)
    (folder,) = [f for f in converted_folder().iterdir() if f.is_dir()]
    assert read_folder(folder).eval.fit == (96, 64)
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | {"eval": {"fit": [0, 1]}}))
    with pytest.raises(InputError, match="Config field eval.fit is"):
        read_folder(folder)


@pytest.mark.nightly
def test_the_other_commands_take_a_name(zoo, finished, tmp_path, capsys):
    row, _ = zoo
    run_there = str(finished[0].path)
    out = tmp_path / "out"
    data = ["--config.data.scenes_eval=2", "--config.data.scenes_size=(32, 32)"]
    report = ["report", "--workdir", row.name, "--out", str(tmp_path / "r.html"), *data]
    assert run([*report, "--config.eval.fit=None"]) == 0
    assert "tiny_fcn_scenes on " in (tmp_path / "r.html").read_text(encoding="utf-8")
    words = ["explain", "--workdir", row.name, run_there, "--out", str(out)]
    assert run([*words, *data]) == 0
    assert (out / "tiny_fcn_scenes.png").is_file() and (out / "side-by-side.png").is_file()
    words = ["export", "--weights", row.name, "--size", "32,32", "--out", str(out / "a.bin")]
    assert run(words) == 0
    words = ["benchmark", "--weights", row.name, "--what", "eval", "--repeats", "1"]
    assert run([*words, "--config.data.scenes_eval=2", "--config.train.batch_size=8"]) == 0
    assert "fcn_resnet18" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_starts_from_a_name(zoo, tiny_file, tmp_path):
    row, _ = zoo
    words = ["train", "--config", str(tiny_file), "--workdir", str(tmp_path / "run")]
    words += ["--config.model.name=fcn_resnet18", "--config.model.width=0.0625"]
    words += [f"--config.model.{name}=None" for name in ("padding", "fc_channels", "norm")]
    words += [f"--config.init.pretrained={row.name}", "--config.train.steps=1"]
    assert run(words) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["init.pretrained"] == row.name
    assert (tmp_path / "run" / "pretrained.txt").is_file()
