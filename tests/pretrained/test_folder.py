"""Exported networks and runs as sources of weights: exact, checked, never half written."""

import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import randomized
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

import jaxseg
from jaxseg import pretrained
from jaxseg.errors import InputError
from jaxseg.pretrained import load_exported, save_exported

NAME = "fcn16s_vgg16"
FIELDS = {"width": 0.02, "fc_channels": 150, "norm": "batch", "padding": 1, "dropout": 0.25}
FIELDS |= {"dtype": "bfloat16", "normalization": "imagenet", "upsampling": "learned"}
CLASSES = ("ground", "Fußweg", "tree")


def make(name=NAME, classes=3, **changes):
    return jaxseg.create_model(name, classes, **(FIELDS | changes))


def random_variables(model, seed=0):
    images = jnp.zeros((1, 32, 32, 3))
    return randomized(jax.eval_shape(model.init, jax.random.key(0), images), seed)


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.fixture(scope="module")
def variables():
    return random_variables(make())


@pytest.fixture
def exported(tmp_path, variables):
    folder = tmp_path / "networks" / "fcn"  # both folders are new
    source = {"file": "a.pth"}
    save_exported(folder, NAME, make(), variables, class_names=CLASSES, source=source)
    return folder


def test_an_exported_network_comes_back_exactly(exported, variables):
    model, loaded = load_exported(exported)
    assert model == make()
    assert_same(loaded, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype(np.float32)}
    assert sorted(os.listdir(exported)) == ["model.json", "variables.safetensors"]
    assert os.listdir(exported.parent) == ["fcn"]
    (exported.parent / "plain").touch()  # the network has the permissions of a plain file
    modes = {p.stat().st_mode for p in (*exported.iterdir(), exported.parent / "plain")}
    assert len(modes) == 1


def test_what_the_two_files_hold(exported, variables):
    """Other programs can use the files."""
    about = json.loads((exported / "model.json").read_text())
    assert about["model"] == NAME
    assert about["num_classes"] == 3
    assert about["fields"] == FIELDS  # all of them differ from create_model's defaults
    assert about["images"] == {
        "channels": "RGB",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
    }
    assert about["class_names"] == list(CLASSES)
    assert about["source"] == {"file": "a.pth"}
    arrays = load_file(exported / "variables.safetensors")
    assert about["tensors"] == len(arrays)
    np.testing.assert_array_equal(
        arrays["params/conv1_2/kernel"], variables["params"]["conv1_2"]["kernel"]
    )
    np.testing.assert_array_equal(
        arrays["batch_stats/fc6/bn/var"], variables["batch_stats"]["fc6"]["bn"]["var"]
    )


def test_fields_that_are_tuples_and_names_that_are_not_known(tmp_path):
    model = jaxseg.create_model("pspnet_resnet50", 4, width=0.05, bins=(1, 3), aux_weight=0.1)
    variables = {"params": {"a": {"kernel": jnp.ones(3)}}}
    save_exported(tmp_path / "psp", "pspnet_resnet50", model, variables)
    loaded, values = load_exported(tmp_path / "psp")
    assert (loaded, loaded.bins) == (model, (1, 3))
    assert_same(values, variables)
    assert json.loads((tmp_path / "psp" / "model.json").read_text())["class_names"] is None


def test_load_pretrained_takes_the_folder(exported, variables):
    assert_same(jaxseg.load_pretrained(make(), exported), variables)
    fit = pretrained.suggest(exported)
    model = fit.create(dropout=0.25, dtype="bfloat16")
    assert (fit.model, fit.num_classes, model) == (NAME, 3, make())
    got, report = pretrained.load(make(dropout=0.0, dtype="float32"), exported, "jaxseg")
    assert_same(got, variables)
    assert (len(report.used), report.kept, report.unused) == (len(jax.tree.leaves(got)), {}, {})


def test_the_scores_can_be_reset_for_other_classes(exported, variables):
    model = make(classes=7)
    with pytest.raises(InputError, match="3 classes, but the network has 7.*head='reset'"):
        pretrained.load(model, exported)
    got, report = pretrained.load(model, exported, head="reset", image_size=(32, 32))
    scores = {"score_fr", "score_pool4", "upscore2"}
    assert {name.split("/")[1] for name in report.kept} == scores
    for layer, arrays in got["params"].items():
        if layer not in scores:
            assert_same(arrays, variables["params"][layer])
    assert got["params"]["score_fr"]["kernel"].shape == (1, 1, 150 // 50, 7)
    assert_same(got["batch_stats"], variables["batch_stats"])


def test_a_finer_fcn_starts_from_a_coarser_one_and_reports_new_layers(exported, variables):
    model = make("fcn8s_vgg16")
    got, report = pretrained.load(model, exported, image_size=(32, 32))
    new = ("score_pool3", "upscore_pool4")
    assert {name.split("/")[1] for name in report.kept} == set(new)
    assert set(report.kept.values()) == {"the other network has no such layer"}
    assert_same({k: v for k, v in got["params"].items() if k not in new}, variables["params"])
    assert not got["params"]["score_pool3"]["kernel"].any()  # zero, its initial value


def test_networks_on_the_same_vgg16_start_from_each_other(tmp_path, exported, variables):
    def is_shared(name):
        return name.split("/")[1].startswith("conv")

    fields = {"width": 0.02, "bn_epsilon": 1e-5, "normalization": "imagenet"}
    model = jaxseg.create_model("deconvnet_vgg16", 5, **fields, fc_kernel=1)
    got, report = pretrained.load(model, exported, image_size=(32, 32))
    flat = {"/".join(path): a for path, a in flatten_dict(got).items()}
    shared = {name for name in flat if is_shared(name)}
    assert len(shared) == 13 * 6  # kernel, bias, and four arrays of batch norm
    assert set(report.used) == shared and set(report.kept) == set(flat) - shared
    reason = "the two networks share only the convolutions of VGG16"
    assert {*report.kept.values(), *report.unused.values()} == {reason}
    theirs = {"/".join(path): a for path, a in flatten_dict(variables).items()}
    for name in shared:
        np.testing.assert_array_equal(flat[name], theirs[name])

    folder = tmp_path / "deconvnet"  # and in the other direction, with other values
    save_exported(folder, "deconvnet_vgg16", model, jax.tree.map(lambda a: a + 1, got))
    back, report = pretrained.load(make("fcn8s_vgg16"), folder, image_size=(32, 32))
    assert set(report.used) == shared
    for path, a in flatten_dict(back).items():
        if is_shared("/".join(path)):
            np.testing.assert_array_equal(a, flat["/".join(path)] + 1)

    for wrong, message in [({"width": 0.04}, "width is 0.04"), ({"bn_epsilon": 1e-9}, "epsilon")]:
        with pytest.raises(InputError, match=message):
            pretrained.load(model.clone(**wrong), exported)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0.04}, "width is 0.04.*width=0.02"),
        ({"padding": 100}, "padding is 100.*padding=1"),
        ({"norm": None}, "norm is None.*norm='batch'"),
        ({"upsampling": "fixed"}, "upsampling is 'fixed'.*upsampling='learned'"),
        ({"at_once": True}, "at_once is True"),
        ({"normalization": None}, "normalised with .*122.67.*normalization='imagenet'"),
        ({"normalization": "caffe_pspnet"}, "normalised with .*123.68.*normalization='imagenet'"),
    ],
)
def test_a_network_for_which_the_values_mean_something_else_is_refused(exported, changes, message):
    with pytest.raises(InputError, match=message):
        pretrained.load(make(**changes), exported)


def test_another_network_is_refused(exported):
    with pytest.raises(InputError, match=f"does not fit PSPNet.*create_model.'{NAME}'"):
        pretrained.load(jaxseg.create_model("pspnet_resnet50", 3), exported)
    with pytest.raises(InputError, match="which does not fit 'pspnet_resnet50'"):
        pretrained.suggest(exported, "pspnet_resnet50")


# ---- writing


@pytest.mark.parametrize("there", ["file", "folder", "exported"])
def test_nothing_is_overwritten(tmp_path, exported, variables, there):
    folder = {"file": tmp_path / "f", "folder": tmp_path, "exported": exported}[there]
    if there == "file":
        folder.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=f"{folder} already"):
        save_exported(folder, NAME, make(), variables)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_checkpoints_of_a_run_are_its_own(tmp_path, variables):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").touch()
    with pytest.raises(InputError, match="net is in the checkpoints of a run"):
        save_exported(tmp_path / "checkpoints/net", NAME, make(), variables)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_an_empty_folder_is_filled(tmp_path, variables, monkeypatch):
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    save_exported(".", NAME, make(), variables)
    monkeypatch.chdir(tmp_path)
    assert_same(load_exported(tmp_path / "new")[1], variables)
    with pytest.raises(InputError, match="is not a valid path"):
        save_exported("a\0b", NAME, make(), variables)


@pytest.mark.parametrize("fails", ["rename", "write_text"])
def test_nothing_is_left_half_written(tmp_path, variables, monkeypatch, fails):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, fails, fail)
    with pytest.raises(InputError, match="cannot be written: .*No space left"):
        save_exported(tmp_path / "new", NAME, make(), variables)
    assert not os.listdir(tmp_path)


def test_a_name_of_another_network_is_refused(tmp_path, variables):
    with pytest.raises(InputError, match="'pspnet_resnet50' is a PSPNet, but the network is a FCN"):
        save_exported(tmp_path / "new", "pspnet_resnet50", make(), variables)
    assert not os.listdir(tmp_path)


# ---- damage


def change(folder, **values):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 4}, "has format 4, but this version of jaxseg supports only 1, 2, 3"),
        ({"format": None}, "model.json is damaged"),
        ({"model": "vgg"}, "model.json: There is no model 'vgg'"),
        ({"model": 3}, "model.json is damaged"),
        ({"fields": {"widht": 1.0}}, "model.json: .* no field 'widht'"),
        ({"fields": {"dtype": "no such"}}, "model.json: dtype is 'no such'"),
        ({"fields": {}}, "normalisation .*123.675.*uses .*122.67"),
        ({"num_classes": 1, "class_names": None}, "model.json: num_classes is 1"),
        ({"class_names": [1, 2, 3]}, "model.json is damaged"),
        ({"class_names": ["a"]}, "model.json is damaged"),
        ({"tensors": 5}, "variables.safetensors does not belong to"),
    ],
)
def test_a_damaged_description_is_named(exported, values, message):
    change(exported, **values)
    for read in (load_exported, pretrained.suggest):
        with pytest.raises(InputError, match=message):
            read(exported)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000, '{"format": 1}'])
def test_an_invalid_description(exported, text):
    (exported / "model.json").write_text(text)
    with pytest.raises(InputError, match="model.json is damaged"):
        load_exported(exported)


def test_variables_that_are_not_the_networks(exported):
    path = exported / "variables.safetensors"
    arrays = load_file(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="variables.safetensors is not a complete .safetensors"):
        load_exported(exported)
    save_file(arrays | {"params/fc6/bias": np.zeros(150, np.float16)}, path)
    with pytest.raises(InputError, match="does not belong to"):
        load_exported(exported)
    change(exported, checksums=None)  # the next files are written by another program
    save_file(arrays | {"params/conv1_1/bias": np.zeros(9, np.float32)}, path)
    with pytest.raises(InputError, match=r"shape \(1,\) .*'params/conv1_1/bias' of shape \(9,\)"):
        pretrained.load(make(), exported)
    arrays["params/conv1_1/bias"][0] = np.nan
    save_file(arrays, path)
    with pytest.raises(InputError, match="'params/conv1_1/bias' .* not finite"):
        pretrained.load(make(), exported)
    path.unlink()
    with pytest.raises(InputError, match="no model.json or no variables.safetensors"):
        load_exported(exported)


def test_a_folder_that_is_neither(tmp_path):
    with pytest.raises(InputError, match="without model.json .* or config.json"):
        pretrained.load(make(), tmp_path)
    with pytest.raises(InputError, match="no model.json"):
        load_exported(tmp_path)


# ---- runs


@pytest.mark.slow
def test_a_run_is_a_source(finished, tiny, restored, tmp_path):
    """Uses its newest checkpoint, or another by its path; the data set is not needed."""
    workdir, _ = finished
    config = tiny()
    fit = pretrained.suggest(workdir.path)
    model = fit.create()
    assert (fit.model, fit.num_classes) == (config.model.name, 6)
    assert (model.width, model.norm, model.padding) == (0.03, "batch", 1)
    last, report = pretrained.load(model, workdir.path)
    assert report.notes == ("These are the weights of step 40.",)
    state, _ = restored(workdir.path, config)
    assert_same(last, state.variables)

    steps = [int(p.name) for p in workdir.checkpoints.iterdir() if p.name.isdecimal()]
    for step in steps:
        state, _ = restored(workdir.path, config, step)
        got = jaxseg.load_pretrained(model, workdir.checkpoints / str(step))
        assert_same(got, state.variables)

    with pytest.raises(InputError, match="There is no file .*checkpoints/39"):
        pretrained.load(model, workdir.checkpoints / "39")
    copy = tmp_path / "run"
    (copy / "checkpoints" / "7").mkdir(parents=True)
    shutil.copy(workdir.config, copy)
    with pytest.raises(InputError, match="contains no checkpoint"):
        pretrained.load(model, copy)
    with pytest.raises(InputError, match="contains no checkpoint"):
        pretrained.load(model, copy / "checkpoints" / "7")


def test_a_flipped_bit_of_a_value_is_noticed(exported):
    path = exported / "variables.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged: the checksum of .* does not match"):
        load_exported(exported)


def test_a_folder_without_checksums_is_read(exported, variables):
    """Older versions wrote none."""
    path = exported / "model.json"
    about = json.loads(path.read_text())
    del about["checksums"]
    path.write_text(json.dumps(about))
    assert_same(load_exported(exported)[1], variables)
