"""The papers' recipes at toy size: each runs, has the recipe's structure, and learns."""

import json
import math

import pytest

from jaxseg.checkpoint.workdir import Workdir, stage_folders
from jaxseg.cli.config_options import read_stages
from jaxseg.config import flatten

RECIPES = {  # name: the variant of which the toy is a smaller version
    "fcn32s": "heavy",
    "fcn16s": "heavy",
    "fcn8s": "staged",
    "fcn8s_atonce": "heavy",
    "fcn_alexnet": "released",
    "fcn_googlenet": "cvpr",
    "deconvnet": "both",
    "pspnet_ade20k": "paper",
    "pspnet_voc2012": "paper",
    "pspnet_cityscapes": "paper",
}
TOY = {  # fields that a toy may change; all others are the recipe's
    *("model.name", "model.width", "model.fc_channels", "model.fc_kernel", "model.padding"),
    *("model.bn_momentum", "model.bn_epsilon", "model.decoder_init"),
    *("data.name", "data.train_split", "data.eval_split", "data.pad_to"),
    *("data.scenes_train", "data.scenes_eval", "data.scenes_size"),
    *("augment.crop", "augment.resize"),
    *("train.steps", "train.batch_size", "train.accumulate"),
    *("optim.lr", "optim.boundaries"),
    *("eval.every_steps", "eval.input_size", "eval.crop", "eval.base_size"),
    *("checkpoint.every_steps", "log.every_steps", "log.pictures"),
}
GUESS = math.log(6)  # the loss of uniform guessing among six classes


@pytest.fixture
def spec(repository):
    """`spec("fcn32s", "smoke")`: the argument of --config."""
    return lambda name, variant: f"{repository}/configs/{name}.py:{variant}"


@pytest.mark.parametrize("name", RECIPES)
def test_a_toy_has_its_recipes_structure(spec, name):
    whole, toy = (read_stages(spec(name, variant)) for variant in (RECIPES[name], "smoke"))
    assert [stage for stage, _ in toy] == [stage for stage, _ in whole]
    for (_, full), (_, small) in zip(whole, toy, strict=True):
        a, b = flatten(full), flatten(small)
        assert {k for k in a if a[k] != b[k]} <= TOY
        for field in ("optim.boundaries", "augment.crop", "augment.resize", "data.pad_to"):
            assert bool(a[field]) == bool(b[field]), field
        assert (full.train.accumulate > 1) == (small.train.accumulate > 1)
        assert full.model.name.split("_")[0] == small.model.name.split("_")[0]


@pytest.fixture
def run(spec, process, tmp_path):
    """`run(name, *words)`: runs a toy by its command; returns the losses of each stage."""

    def command(name, *words):
        config = spec(name, "smoke")
        running = process("train", "--config", config, "--workdir", tmp_path, *words, devices=1)
        _, err = running.communicate(timeout=900)
        assert (running.returncode, err) == (0, "")
        folders = stage_folders(tmp_path) or [tmp_path]
        assert len(folders) == len(read_stages(config))
        return [losses(Workdir(folder)) for folder in folders]

    return command


def losses(workdir):
    """The loss of every step of a run that ended normally."""
    entries = [json.loads(line) for line in workdir.log.read_text().splitlines()]
    seen = [e["loss"] for e in entries if e["kind"] == "train"]
    assert len(seen) == json.loads(workdir.scores.read_text())["step"]
    assert all(map(math.isfinite, seen))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fcn32s", ["--config.train.steps=6"]),
        pytest.param(
            "deconvnet",
            ["--config.train.steps=3", "--config.optim.boundaries=(2,)"],
            marks=pytest.mark.nightly,
        ),
        pytest.param("pspnet_ade20k", ["--config.train.steps=3"], marks=pytest.mark.nightly),
    ],
)
def test_first_steps(run, name, words, tmp_path):
    first, *later = run(name, *words, "--config.log.pictures=0")
    if name == "fcn32s":  # the scores start at zero, and the loss is a sum over pixels
        pixels = first[0] / GUESS
        assert pixels > 64 * 64 * 0.8 and abs(pixels - round(pixels)) < 0.05
    elif name == "deconvnet":
        (second,) = later
        assert len(first) == len(second) == 3
        told = (tmp_path / "2_stage_2/pretrained.txt").read_text()
        assert "1_stage_1" in told and "176 of 176 parameters" in told
    else:  # both heads guess, and the auxiliary one counts 0.4
        assert first[0] > 1.4 * GUESS * 0.8


@pytest.mark.nightly
@pytest.mark.parametrize("name", RECIPES)
def test_toy_learns(run, name):
    stages = run(name)
    for seen in stages:
        quarter = len(seen) // 4
        if seen is stages[0]:
            assert sum(seen[-quarter:]) / quarter < 0.9 * seen[0]
        elif name == "fcn8s":  # it continues from the previous stage
            assert sum(seen[:quarter]) / quarter < 0.9 * stages[0][0]
        else:
            assert sum(seen[-quarter:]) < sum(seen[:quarter])
