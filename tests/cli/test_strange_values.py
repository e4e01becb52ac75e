"""Nonsensical values: each is refused by name, before anything is built."""

import math
import os
import pathlib

import numpy as np
import pytest

import jaxseg
from jaxseg.cli import settle_process
from jaxseg.cli.parser import Parser
from jaxseg.config import default_config, validate
from jaxseg.data.not_images import what_it_is
from jaxseg.errors import InputError
from jaxseg.losses.inputs import checked_weights
from jaxseg.ops.byte_labels import byte_labels
from jaxseg.ops.checks import as_pixels


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [("train", "steps", 10**30), ("train", "batch_size", 10**12), ("log", "every_steps", 2**31)],
)
def test_whole_numbers_beyond_what_programs_count(section, field, value):
    config = default_config()
    config[section][field] = value
    with pytest.raises(InputError, match=f"{section}.{field} is {value}"):
        validate(config)


def test_a_second_config_file_is_not_left_out_in_silence():
    parser = Parser("train", "", [])
    parser.add_argument("--config")
    assert parser.parse_args(["--config", "a.py"]).config == "a.py"
    with pytest.raises(InputError, match="--config is given more than once"):
        parser.parse_args(["--config", "a.py", "--config=b.py"])


@pytest.mark.parametrize("words", [["--out", ""], ["--out="]])
def test_an_empty_path_is_not_the_current_folder(words):
    parser = Parser("predict", "", [])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--list")
    assert parser.parse_args(["--out", ".", "--list", ""]).out == pathlib.Path()
    with pytest.raises(InputError, match="after --out is empty"):
        parser.parse_args(words)


@pytest.mark.parametrize("weight", [math.nan, math.inf, -1.0])
def test_class_weights_are_finite(weight):
    with pytest.raises(InputError, match="class weights"):
        checked_weights((1.0, weight, 1.0), 3)


@pytest.mark.parametrize(
    "fields",
    [
        *({"num_classes": "3"}, {"num_classes": 3.0}, {"width": math.nan}, {"width": 0}),
        *({"dtype": "int32"}, {"dtype": "nonsense"}, {"dtype": np.complex64}),
    ],
)
def test_a_network_of_no_size(fields):
    with pytest.raises(InputError, match=f"{next(iter(fields))} is"):
        jaxseg.create_model("fcn8s_vgg16", **{"num_classes": 3, **fields})


@pytest.mark.parametrize(
    "image",
    [None, ["a.png"], b"PNG", [[1, 2], [3]], np.zeros((2, 2), object), np.array(["a.png"])],
)
def test_invalid_arrays_of_pixels(image):
    with pytest.raises(InputError, match="array of pixels"):
        as_pixels(image)


def test_a_batch_is_not_one_image():
    with pytest.raises(InputError, match=r"\(1, 9, 9, 3\). Give one image"):
        jaxseg.predict(None, None, np.zeros((1, 9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "not an empty name"),
        (None, "not a NoneType"),
        ({"params": {}}, "not a dict"),
        ("fcn8s_vgg16", "without trained parameters.*create_model"),
        ("WORK/runs", "contains the runs a, b; give one"),
        ("WORK/runs/a/checkpoints", "Give its run, .*runs/a"),
    ],
)
def test_names_that_are_no_network(tmp_path, name, words):
    for run in "ab":
        (tmp_path / "runs" / run / "checkpoints").mkdir(parents=True)
        (tmp_path / "runs" / run / "config.json").touch()
    name = name.replace("WORK", str(tmp_path)) if isinstance(name, str) else name
    with pytest.raises(InputError, match=words):
        jaxseg.load(name)


@pytest.mark.parametrize("size", [(0, 5), (3.0, 5), "5"])
def test_a_resize_to_no_size(size):
    with pytest.raises(InputError, match="rows and columns"):
        jaxseg.ops.resize_bilinear(np.zeros((1, 4, 4, 2), np.float32), size, align_corners=True)


def test_a_file_of_xla_flags_stays_one(tmp_path, monkeypatch):
    """A flag behind the name of a file makes XLA end the process: it looks for one longer name."""
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    with pytest.raises(InputError, match="neither a list of --flags nor a file"):
        settle_process()
    (tmp_path / "flags").touch()
    settle_process()
    assert os.environ["XLA_FLAGS"] == str(tmp_path / "flags")


def test_texts_and_empty_input_get_a_fix_of_their_own(tmp_path):
    (tmp_path / "list.txt").write_text("a.png\n")
    assert "--list" in what_it_is(tmp_path / "list.txt", None, ValueError())[1]
    assert "Send" in what_it_is("standard input", b"", ValueError())[1]


def test_classes_that_a_byte_cannot_count():
    with pytest.raises(InputError, match="257 classes"):
        byte_labels(np.zeros((1, 257)))
    assert byte_labels(np.eye(256)[255:]) == [255]
