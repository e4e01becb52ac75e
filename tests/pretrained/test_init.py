"""Runs that start from weights: `config.init`."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import randomized

from jaxseg import create_model
from jaxseg.cli import run
from jaxseg.config import default_config, load_config, save_config
from jaxseg.errors import InputError
from jaxseg.models import model_from_config
from jaxseg.pretrained.folder import save_exported
from jaxseg.pretrained.init import starting_variables

CLASSES = 4  # of the exported network; the scenes of `tiny()` have 6 classes
SCORES = ("score_fr", "score_pool4", "score_pool3")


def export(folder, model, name="fcn8s_vgg16", size=32):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    variables = randomized(shapes)
    save_exported(folder, name, model, variables)
    return variables


@pytest.fixture
def exported(tmp_path, tiny):
    """The folder of a network like that of `tiny()`, for other classes, and its variables."""
    folder = tmp_path / "network"
    return folder, export(folder, model_from_config(tiny().model, CLASSES))


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def without(layers, variables):
    return {
        kind: {k: v for k, v in tree.items() if k not in layers} for kind, tree in variables.items()
    }


@pytest.mark.default_cases(1)
@pytest.mark.parametrize(("classes", "head"), [(CLASSES, None), (CLASSES, "reset"), (6, None)])
def test_logits_layers_are_reset_if_necessary_or_requested(
    tiny, exported, monkeypatch, classes, head
):
    folder, variables = exported
    monkeypatch.setenv("HOME", str(folder.parent))
    config = tiny({"init.pretrained": f"~/{folder.name}", "init.head": head})
    model = model_from_config(config.model, classes)
    got, told = starting_variables(model, config.init, seed=3, image_size=(32, 32))
    kept = classes == CLASSES and head is None
    assert_same(without(() if kept else SCORES, got), without(() if kept else SCORES, variables))
    assert ("The weights have 4 classes, this run has 6" in told) == (classes == 6)
    assert ("kept their initial values (the scores are reset)" in told) != kept
    assert got["params"]["score_fr"]["kernel"].shape[-1] == classes
    if not kept:  # zero, their initial value
        assert not any(got["params"][layer]["kernel"].any() for layer in SCORES)


@pytest.mark.slow
def test_parameters_missing_in_the_file_depend_on_the_seed(tmp_path, tiny):
    """DeconvNet's scores do not start at zero."""
    folder = tmp_path / "network"
    export(folder, create_model("deconvnet_vgg16", 3, width=0.02), "deconvnet_vgg16", 224)
    init = tiny({"init.pretrained": str(folder)}).init
    model = create_model("deconvnet_vgg16", 6, width=0.02)

    def score(seed):
        got, _ = starting_variables(model, init, seed, image_size=(224, 224))
        return np.asarray(got["params"]["score"]["kernel"])

    np.testing.assert_array_equal(score(0), score(0))
    assert (score(0) != score(1)).any()


@pytest.mark.slow
def test_invalid_initial_weights_are_refused_before_a_workdir_is_made(
    exported, words, tmp_path, capsys
):
    folder, _ = exported
    for fields, message in [
        ({"init.pretrained": tmp_path / "no"}, f"There is no file {tmp_path / 'no'}"),
        ({"init.pretrained": tmp_path}, "without model.json"),
        (
            {"init.pretrained": folder, "model.width": 0.05},
            "width is 0.05.*width=0.03.*config",
        ),
        ({"init.pretrained": folder, "init.head": "keep"}, "4 classes, but the network has 6"),
        ({"init.pretrained": folder, "init.source": "caffe"}, "none of the files"),
        ({"init.pretrained": folder, "init.head": "rest"}, "init.head is 'rest'.*'reset'"),
    ]:
        assert run(words(tmp_path / "run", fields)) == 2
        err = capsys.readouterr().err
        with pytest.raises(InputError, match=message):
            raise InputError(*err.replace("fix: ", "").strip().split("\n"))
        assert not (tmp_path / "run").exists()


def test_a_config_from_before_there_was_a_start_is_read(tmp_path):
    path = tmp_path / "config.json"
    save_config(default_config(), path)
    fields = json.loads(path.read_text())
    assert {"init.pretrained", "init.head", "init.source"} < set(fields)
    path.write_text(json.dumps({k: v for k, v in fields.items() if not k.startswith("init.")}))
    assert load_config(path) == default_config()


@pytest.mark.slow
def test_a_run_starts_from_the_folder_and_goes_on_without_it(
    tiny, exported, tmp_path, restored, monkeypatch, capsys
):
    import jaxseg.training.loop as training
    import jaxseg.training.setup as program

    folder, variables = exported
    fields = {"init.pretrained": str(folder), "log.pictures": 0, "eval.every_steps": None}
    started = []
    place = program.to_every_device
    monkeypatch.setattr(
        program, "to_every_device", lambda mesh, tree: started.append(tree) or place(mesh, tree)
    )

    # a step too small to change a float32 leaves the initial parameters
    still = tiny(fields | {"train.steps": 1, "optim.lr": 1e-30})
    training.train(still, tmp_path / "still")
    assert_same(without(SCORES, started[0]), without(SCORES, variables))
    state, _ = restored(tmp_path / "still", still)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-25),
        state.params,
        jax.device_get(started[0]["params"]),
    )
    assert int(state.step) == 1
    told = (tmp_path / "still" / "pretrained.txt").read_text()
    assert "The weights have 4 classes, this run has 6" in told
    assert told in capsys.readouterr().out

    # two steps at once, and in two parts, the second without the folder
    training.train(tiny(fields | {"train.steps": 2}), tmp_path / "whole")
    training.train(tiny(fields | {"train.steps": 1}), tmp_path / "parts")
    shutil.rmtree(folder)
    training.train(tiny(fields | {"train.steps": 2}), tmp_path / "parts")
    assert len(started) == 3
    whole, parts = (restored(tmp_path / name, tiny(fields))[0] for name in ("whole", "parts"))
    assert_same(parts, whole)
    assert (whole.params["conv1_1"]["kernel"] != state.params["conv1_1"]["kernel"]).any()

    # other initial weights mean another run
    with pytest.raises(InputError, match="contains a run with init.pretrained = .*not None"):
        training.train(tiny(fields | {"init.pretrained": None}), tmp_path / "whole")
    with pytest.raises(InputError, match="There is no file"):
        training.train(tiny(fields), tmp_path / "new")
