"""--json: machine-readable results, the same option in every command that has results."""

import importlib
import json
import sys

import numpy as np
import pytest

from jaxseg.cli import run
from jaxseg.cli.json_output import json_output
from jaxseg.errors import InputError

COMMANDS = (
    *("train", "evaluate", "predict", "convert", "export", "models", "prepare", "check"),
    "benchmark",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_it(command, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        importlib.import_module(f"jaxseg.cli.{command}").main(["--help"])
    assert "--json [FILE.json]" in capsys.readouterr().out


def test_standard_output_has_only_json(capsys):
    with json_output("-") as put:
        print("for a person")
        put({"iou": [np.float32(0.5), float("nan")], "n": np.int64(3)})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"iou": [0.5, None], "n": 3} and err == "for a person\n"
    assert sys.stdout is not sys.stderr


def test_a_file_gets_the_same_and_lines_are_still_printed(tmp_path, capsys):
    with json_output(str(tmp_path / "a.json")) as put:
        print("for a person")
        put({"folder": tmp_path})
    assert json.loads((tmp_path / "a.json").read_text()) == {"folder": str(tmp_path)}
    assert capsys.readouterr().out == "for a person\n"


def test_the_result_is_written_even_if_the_command_fails(tmp_path):
    with pytest.raises(InputError), json_output(str(tmp_path / "a.json")) as put:
        put({"written": 2})
        raise InputError("One photograph is bad.", "Replace it.")
    assert json.loads((tmp_path / "a.json").read_text()) == {"written": 2}


@pytest.mark.parametrize(
    ("where", "words"), [("photo.jpg", "does not end in .json"), ("no/a.json", "does not exist")]
)
def test_implausible_json_paths_are_refused_before_any_work(where, words):
    with pytest.raises(InputError, match=words), json_output(where):
        pytest.fail("the work began")


def test_check(tmp_path, capsys):
    words = ["check", "--data", "scenes", "--config.data.scenes_train=2"]
    assert run([*words, "--config.data.scenes_eval=2", "--json"]) in (0, 2)
    assert json.loads(capsys.readouterr().out)["data_set"] == "scenes"
