"""The config's fields, checks and file; config files and overrides from the command line."""

import json
import pathlib
import re
import sys

import numpy as np
import pytest

from jaxseg.cli.config_options import load_config_file, read_config, split_overrides
from jaxseg.config import (
    default_config,
    field_types,
    flatten,
    load_config,
    save_config,
    score_otherwise,
    set_field,
    validate,
)
from jaxseg.errors import InputError
from jaxseg.models import create_model

HEAD = "from jaxseg.config import default_config\nfrom jaxseg.errors import InputError\n"


@pytest.fixture
def config_file(tmp_path):
    """`config_file(body)`: writes a config file with this body of get_config; returns its path."""

    def write(body="", signature="", name="mine.py"):
        lines = ["c = default_config()", *body.splitlines(), "return c"]
        text = HEAD + f"def get_config({signature}):\n" + "".join(f"  {x}\n" for x in lines)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def refusal(function, *args):
    with pytest.raises(InputError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_valid():
    validate(default_config())
    assert flatten(default_config())["augment.scale"] == (1.0, 1.0)


def test_every_field_has_a_known_type():
    assert {kind for kind, _ in field_types().values()} <= {bool, int, float, str, tuple}


@pytest.mark.parametrize(
    "name, value, kept",
    [
        ("optim.lr", 1, 1.0),
        ("model.dropout", 0, 0.0),  # an optional float takes an int too
        ("model.dropout", None, None),
        ("augment.crop", [64, 48], (64, 48)),
        ("optim.rules", [["bias$", 2, 0]], (("bias$", 2, 0),)),
    ],
)
def test_set_field_converts(name, value, kept):
    config = default_config()
    set_field(config, name, value)
    result = flatten(config)[name]
    assert result == kept and type(result) is type(kept)


def test_set_field_gives_a_copied_config_a_value_of_another_type():
    config = default_config()
    config.loss.class_weights = (1.0, 2.0)
    config = config.copy_and_resolve_references()
    set_field(config, "loss.class_weights", "enet")
    set_field(config, "model.norm", "batch")
    assert (config.loss.class_weights, config.model.norm) == ("enet", "batch")


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("optim.lrr", 1, "'optim.lr'"),
        ("lr", 1, "'optim.lr'"),
        ("train.lr", 1, "'optim.lr'"),
        ("batch_size", 1, "'eval.batch_size' or 'train.batch_size'"),
        ("train.step", 1, "'train.steps'"),
        (
            "train.zzzzzz",
            1,
            "Choose one of train.accumulate, train.batch_size, train.epochs, train.fsdp, "
            "train.max_minutes, train.patience, train.space, train.steps.",
        ),
        ("optim", 1, "group of fields"),
        ("train.steps.x", 1, "'train.steps'"),
        ("train.steps", 1.5, "a whole number, not 1.5"),
        ("train.steps", True, "a whole number, not True"),
        ("train.steps", None, "not None"),
        ("optim.lr", "abc", "a number, not 'abc'"),
        ("model.padding", "1", "a whole number or None"),
        ("augment.crop", 65, "a tuple or None"),
        ("data.cache", 1, "true or false"),
    ],
)
def test_set_field_refuses(name, value, words):
    message = refusal(set_field, default_config(), name, value)
    assert name in message and words in message


@pytest.mark.parametrize(
    "name, value",
    [
        ("seed", -1),
        ("model.num_classes", 256),
        ("model.width", 0.0),
        ("model.norm", "batchnorm"),
        ("model.dtype", "float16"),
        ("model.dropout", 1.0),
        ("model.padding", -1),
        ("data.threads", 0),
        ("data.scenes_size", (96,)),
        ("augment.crop", (65,)),
        ("augment.crop", (0, 65)),
        ("augment.crop", (1.5, 65)),
        ("augment.scale", (2.0, 0.5)),
        ("augment.scale", (0.0, 0.5)),
        ("augment.scale", (1.0,)),
        ("augment.scale", ("a", "b")),
        ("augment.flip", 1.5),
        ("augment.rotation", -10.0),
        ("augment.blur", 1.01),
        ("augment.padding", "center"),
        ("data.sampling", "epochs"),
        ("data.pad_to", 0),
        ("train.steps", 0),
        ("train.batch_size", -8),
        ("loss.reduction", "average"),
        ("loss.share", 1.5),
        ("optim.name", "adam"),
        ("optim.schedule", "polynomial"),
        ("optim.lr", 0.0),
        ("optim.lr", float("nan")),
        ("optim.momentum", 1.0),
        ("optim.clip_norm", float("inf")),
        ("optim.rules", ("bias",)),
        ("optim.rules", (("bias", 2.0),)),
        ("optim.rules", (("(", 2.0, 0.0),)),
        ("optim.rules", (("bias", -2.0, 0.0),)),
        ("optim.boundaries", (9000, 9000)),
        ("optim.boundaries", (0, 9000)),
        ("optim.boundaries", (0.5,)),
        ("optim.momentum_form", "torch"),
        ("optim.freeze", ("conv(",)),
        ("optim.ema", 1.0),
        ("train.accumulate", 0),
        ("eval.input_size", (480, 360, 3)),
        ("data.eval_split", ""),
        ("data.train_split", "../train"),
        ("checkpoint.keep_last", 0),
        ("checkpoint.folder", "relative/folder"),
        ("checkpoint.folder", "s3://bucket/run"),
        ("checkpoint.folder", "gs://bucket"),
        ("checkpoint.folder", "gs://bucket/"),
        ("checkpoint.folder", "gs://bucket/run*"),
        ("log.every_steps", 0),
    ],
)
def test_validate_names_field_and_value(name, value):
    config = default_config()
    set_field(config, name, value)
    message = refusal(validate, config)
    assert f"{name} is {value!r}." in message


def test_warm_up_must_end_inside_the_run():
    config = default_config()
    config.optim.warmup_steps = 1000
    assert "train.steps" in refusal(validate, config)


def test_parts_of_a_batch_are_equal():
    config = default_config()
    config.train.accumulate = 3
    message = refusal(validate, config)
    assert "train.accumulate is 3" in message and "train.batch_size (8)" in message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"optim.schedule": "step"}, "optim.boundaries is empty"),
        ({"optim.power": 0.5}, "optim.power is 0.5, which has no effect while optim.schedule"),
        ({"optim.boundaries": (5,)}, "optim.boundaries is (5,), which has no effect while"),
        ({"optim.factor": 0.5}, "Set optim.schedule to 'step'"),
        ({"loss.gamma": 1.0}, "Only 'focal' use it; set it to 2.0"),
        ({"loss.name": "ohem+dice", "loss.reduction": "sum"}, "loss.reduction is 'sum', which"),
        ({"loss.name": "ohem+dices"}, "There is no loss 'dices'"),
        ({"optim.name": "adamw", "optim.momentum_form": "pytorch"}, "optim.name is 'adamw'"),
        ({"data.split": "8:2", "data.fold": "0/5"}, "data.fold ('0/5') are both set"),
        ({"eval.every_steps": 0}, "Give a value above 0, or None."),
    ],
)
def test_fields_that_change_nothing(fields, words):
    config = default_config()
    for name, value in fields.items():
        set_field(config, name, value)
    assert words in refusal(validate, config)


def test_images_are_resized_or_padded():
    config = default_config()
    config.eval.input_size, config.eval.pad_to = (64, 64), 32
    assert "eval.pad_to (32) are both set" in refusal(validate, config)


def test_validate_refuses_none_in_a_field_that_needs_a_value():
    config = default_config()
    config.optim.lr = None  # ConfigDict itself accepts None anywhere
    assert "optim.lr must be a number" in refusal(validate, config)


def test_save_and_load(tmp_path):
    config = default_config()
    config.augment.crop = (64, 48)
    config.optim.rules = (("bias$", 2.0, 0.0),)
    config.model.norm = "batch"
    save_config(config, tmp_path / "config.json")
    loaded = load_config(tmp_path / "config.json")
    assert flatten(loaded) == flatten(config)
    assert loaded.is_locked
    assert [f.name for f in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(TypeError):  # an optional field keeps its type
        loaded.model.padding = "1"


def test_loading_fills_in_new_fields_and_refuses_unknown_ones(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"optim.lr": 1}')
    assert load_config(path).optim.lr == 1.0
    path.write_text('{"optim.lrr": 1}')
    message = refusal(load_config, path)
    assert str(path) in message and "'optim.lr'" in message
    path.write_text('{"optim.lr": -1}')
    assert str(path) in refusal(load_config, path)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_loading_a_broken_file(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert "config.json" in refusal(load_config, tmp_path / "config.json")


def test_loading_a_missing_file_and_saving_where_none_can_be(tmp_path):
    assert "No such file" in refusal(load_config, tmp_path / "config.json")
    assert "none" in refusal(save_config, default_config(), tmp_path / "none" / "config.json")


def test_saved_file_is_json_a_line_a_field(tmp_path):
    save_config(default_config(), tmp_path / "config.json")
    text = (tmp_path / "config.json").read_text()
    assert json.loads(text)["augment.scale"] == [1.0, 1.0]
    assert len(text.splitlines()) == len(flatten(default_config())) + 2


def test_read_config_applies_argument_and_overrides(config_file):
    spec = config_file("c.train.steps = {'small': 5}[variant]", "variant")
    words = ["--workdir", "w", "--config.optim.lr=1", "--config.optim.momentum", "0.5"]
    words += ["--config.augment.crop=(64,48)", "--config.data.cache", "--config.model.norm=batch"]
    others, overrides = split_overrides(words)
    config = read_config(f"{spec}:small", overrides)
    assert others == ["--workdir", "w"]
    assert (config.train.steps, config.optim.lr, config.optim.momentum) == (5, 1.0, 0.5)
    assert (config.augment.crop, config.data.cache, config.model.norm) == ((64, 48), True, "batch")
    assert config.is_locked


def test_override_with_none_and_last_one_wins(config_file):
    spec = config_file("c.model.padding = 1")
    config = read_config(spec, [("model.padding", "None"), ("seed", "1"), ("seed", "2")])
    assert config.model.padding is None and config.seed == 2


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("optim.lrr", "1", "'optim.lr'"),
        ("lr", "1", "'optim.lr'"),
        ("train.steps", "1.5", "not '1.5'"),
        ("train.steps", "1e3", "not '1e3'"),
        ("train.steps", "abc", "not 'abc'"),
        ("train.steps", None, "--config.train.steps=VALUE"),
        ("optim.lr", "fast", "not 'fast'"),
        ("data.cache", "maybe", "not 'maybe'"),
        ("model.padding", "x", "or None, not 'x'"),
        ("augment.crop", "65", "a tuple or None, not 65"),
        ("augment.crop", "(65,)", "augment.crop is (65,)."),
        ("augment.crop", "(65", "not '(65'"),
        ("augment.scale", "(1.0, 1.1, 1.2)", "augment.scale is (1.0, 1.1, 1.2)."),
        ("optim.name", "adam", "'adamw'"),
        ("", "1", "no config field"),
    ],
)
def test_override_refused(config_file, name, text, words):
    message = refusal(read_config, config_file(), [(name, text)])
    assert name in message and words in message


@pytest.mark.parametrize(
    "body, words",
    [
        ("c.optim.lrr = 1", "line 5: There is no config field optim.lrr. Did you mean 'optim.lr'?"),
        ("print(c.optim.lrr)", "line 5: There is no config field optim.lrr."),
        ("o = c.optim\no.lrr = 1", "line 6: There is no config field lrr. Did you mean 'optim.lr'"),
        ("c.optim['lrr'] = 1", "line 5: There is no config field lrr."),
        ("c.optim.lr = 'abc'", "line 5: Config field optim.lr must be a number, not 'abc'."),
        ("c.optim.rules = 5", "line 5: Config field optim.rules must be a tuple, not '5'."),
        ("c.model.norm = True", "line 5: Config field model.norm must be a word or None"),
        ("c.optim.lr = None", "optim.lr must be a number, not None."),
        ("c.train.steps = True", "train.steps must be a whole number, not True."),
        ("c = None", "returned NoneType"),
        ("with c.unlocked(): c.extra = 1", "no config field extra"),
        ("with c.unlocked(): del c.optim", "has no field optim."),
        ("1 / 0", "line 5: ZeroDivisionError: division by zero"),
        ("{}['a']", "line 5: KeyError: 'a'"),
        ("int('a')", "line 5: ValueError: invalid literal"),
        ("import no_such_module", "line 5: ModuleNotFoundError"),
        ("c.optim.lr = (", "line 5: SyntaxError"),
        ("raise InputError('No variant x.', 'Choose full.')", "No variant x. Choose full."),
    ],
)
def test_config_file_that_fails(config_file, body, words):
    spec = config_file(body)
    message = refusal(load_config_file, spec)
    assert words in message
    assert spec in message or "No variant" in message


def test_argument_that_is_not_taken_or_missing(config_file):
    assert "accepts no argument" in refusal(load_config_file, config_file() + ":full")
    assert "needs an argument" in refusal(load_config_file, config_file("", "variant"))


def test_missing_config_file_names_the_nearest(config_file, tmp_path):
    right = config_file(name="fcn8s.py")
    assert right in refusal(load_config_file, str(tmp_path / "fcn8.py"))
    assert "folder" in refusal(load_config_file, str(tmp_path / "none" / "fcn8s.py"))


def test_config_file_without_get_config(tmp_path):
    (tmp_path / "empty.py").write_text("")
    assert "get_config" in refusal(load_config_file, str(tmp_path / "empty.py"))


def test_values_of_numpy_and_pathlib(config_file):
    config = default_config()
    for name, value in (("data.root", pathlib.Path("a")), ("train.steps", np.int64(3))):
        set_field(config, name, value)
    set_field(config, "optim.lr", np.float64(0.5))
    assert (config.data.root, config.train.steps, config.optim.lr) == ("a", 3, 0.5)
    for line, part in (
        ("c.data.root = __import__('pathlib').Path('a')", r"PosixPath. Write str\(...\)"),
        ("c.train.steps = __import__('numpy').int64(3)", r"'3' of the type numpy.int64. Write int"),
    ):
        path = config_file(line)
        assert re.search(part, refusal(load_config_file, path))


def test_a_config_file_imports_its_neighbour(tmp_path):
    (tmp_path / "base_of_a_test.py").write_text(
        "from jaxseg.config import default_config\n"
        "def config():\n    import second_of_a_test\n    return default_config()\n"
    )
    (tmp_path / "second_of_a_test.py").touch()
    path = tmp_path / "mine.py"
    path.write_text("from base_of_a_test import config as get_config\n")
    before = list(sys.path)
    assert load_config_file(str(path))[0][1] == default_config()
    assert sys.path == before


def test_fields_that_a_trained_network_has_no_more():
    config = default_config()
    score_otherwise(config, {"eval.absent": "zero"})
    with pytest.raises(InputError, match="optim.lr cannot be set for a trained network"):
        score_otherwise(config, {"optim.lr": 0.1})
    with pytest.raises(InputError, match="jaxseg.load.NAME. opens a trained one"):
        create_model("fcn8s_vgg16", num_classes=3, pretrained=True)
