"""Training in stages: each starts from the previous one, runs once, and can be killed."""

import json
import os
import signal
import time

import jax
import numpy as np
import pytest

from jaxseg.checkpoint.workdir import Workdir, stage_folders
from jaxseg.cli.config_options import read_config, read_stages
from jaxseg.config import save_config
from jaxseg.errors import InputError
from jaxseg.pretrained.read import read_weights
from jaxseg.training import stages as stages_module
from jaxseg.training.stages import train_stages

FIELDS = {
    "train.steps": 3,
    "data.scenes_train": 8,
    "data.scenes_eval": 2,
    "eval.every_steps": None,
    "log.pictures": 0,
}


@pytest.fixture
def pair(tiny):
    """FCN-32s, then FCN-16s with tiny updates; `pair(fields)` changes the second stage."""

    def make(fields=None):
        first = tiny(FIELDS | {"model.name": "fcn32s_vgg16"})
        second = tiny(FIELDS | {"model.name": "fcn16s_vgg16", "optim.lr": 1e-30} | (fields or {}))
        return [("coarse", first), ("fine", second)]

    return make


@pytest.mark.slow
def test_each_starts_from_the_weights_of_the_one_before(pair, restored, tmp_path):
    train_stages(pair(), tmp_path)
    (_, coarse), (_, fine) = pair()
    before, _ = restored(tmp_path / "1_coarse", coarse)
    after, _ = restored(tmp_path / "2_fine", fine)
    assert before.params["score_fr"]["kernel"].any()
    new = after.params.pop("score_pool4")
    assert not any(np.abs(leaf).max() > 1e-20 for leaf in jax.tree.leaves(new))
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
    assert "params/score_pool4/kernel" in read_weights(tmp_path).tensors


@pytest.fixture
def calls(monkeypatch):
    """Replaces training: writes a run's files, and lists each call's folder and initial weights."""
    calls = []

    def train(config, workdir):
        run = Workdir(workdir)
        run.open(config)
        save_config(config, run.config)
        if config.optim.momentum == 0.123:  # simulates a kill
            raise KeyboardInterrupt
        for part in ("_CHECKPOINT_METADATA", "state/_METADATA", "position/metadata"):
            path = run.checkpoints / str(config.train.steps) / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        scores = {"step": config.train.steps, "mean_iou": len(calls)}
        run.scores.write_text(json.dumps(scores))
        run.picture.touch()
        calls.append((run.path.name, config.init.pretrained))
        return scores

    monkeypatch.setattr(stages_module, "train", train)
    return calls


def test_a_finished_stage_is_not_run_again(pair, tmp_path, calls, capsys):
    outer = tmp_path / "run"
    scores = train_stages(pair(), outer)
    assert calls == [("1_coarse", None), ("2_fine", str(outer / "1_coarse"))]
    assert list(scores) == ["coarse", "fine"]
    assert [p.name for p in stage_folders(outer)] == ["1_coarse", "2_fine"]
    said = capsys.readouterr().out
    assert "stage 1 of 2: coarse in" in said and "stage 2 of 2: fine in" in said

    outer.rename(moved := tmp_path / "moved")
    assert train_stages(pair(), moved) == scores and len(calls) == 2
    assert "stage 2 of 2: fine is finished" in capsys.readouterr().out
    (moved / "2_fine/predictions.png").unlink()  # as if killed before writing it
    assert train_stages(pair({"log.pictures": 1}), moved) == scores
    assert [name for name, _ in calls[2:]] == ["2_fine"]
    assert (moved / "2_fine/predictions.png").exists()
    longer = pair()
    longer[1][1].train.steps = 4
    train_stages(longer, moved)
    assert calls[3:] == [("2_fine", str(outer / "1_coarse"))]  # it resumes
    assert Workdir.existing(moved).path == moved / "2_fine"


@pytest.mark.slow
def test_stopped_in_the_second_stage(pair, tmp_path, calls):
    stages = pair({"optim.momentum": 0.123})
    with pytest.raises(KeyboardInterrupt):
        train_stages(stages, tmp_path)
    assert [name for name, _ in calls] == ["1_coarse"]
    train_stages(pair(), tmp_path)  # the stage had saved nothing, so its config may change
    assert [name for name, _ in calls] == ["1_coarse", "2_fine"]


def test_what_is_another_training_is_refused(pair, tmp_path, calls):
    train_stages(pair(), tmp_path)
    before = len(calls)
    (_, fine) = pair()[1]
    with pytest.raises(InputError, match="contains the stages of another training"):
        Workdir(tmp_path).open(fine)
    with pytest.raises(
        InputError, match="contains the stage 2_fine, but the config has 1_coarse, 2_finer"
    ):
        train_stages([pair()[0], ("finer", fine)], tmp_path)
    with pytest.raises(InputError, match="optim.lr = 1e-30, not 0.5"):
        train_stages(pair({"optim.lr": 0.5}), tmp_path)
    longer = pair()
    longer[0][1].train.steps = 4
    with pytest.raises(InputError, match="1_coarse is not finished for train.steps = 4, but a lat"):
        train_stages(longer, tmp_path)
    with pytest.raises(InputError, match="2_fine contains a single run, not stages"):
        train_stages(pair(), tmp_path / "2_fine")
    assert len(calls) == before


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model.width": 0.05}, "fine cannot start from stage coarse: width is 0.05"),
        ({"model.name": "pspnet_resnet50"}, "fine cannot start from .*: its network is a PSPNet"),
        ({"init.pretrained": "x"}, "Stage fine has init.pretrained = 'x'"),
        ({"data.name": "voc2012"}, "PASCAL VOC 2012 cannot be found"),
        ({"train.batch_size": -1}, "train.batch_size is -1"),
    ],
)
def test_errors_of_a_later_stage_are_found_at_once(pair, tmp_path, fields, message):
    chosen = {k: v for k, v in fields.items() if k != "model.name"}
    stages = pair(chosen)
    if "model.name" in fields:
        config = stages[1][1]
        config.model.name = fields["model.name"]
        for field in ("fc_channels", "norm", "padding"):
            config.model[field] = None
    with pytest.raises(InputError, match=message):
        train_stages(stages, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_deconvnet_starts_from_the_vgg16_of_an_fcn(pair, restored, tmp_path):
    (_, fcn), (_, deconvnet) = stages = pair()
    deconvnet.model.name = "deconvnet_vgg16"
    deconvnet.model.norm = deconvnet.model.padding = deconvnet.model.dropout = None
    deconvnet.model.bn_epsilon, deconvnet.model.fc_kernel = 1e-5, 1
    train_stages(stages, tmp_path)
    before, _ = restored(tmp_path / "1_coarse", fcn)
    after, _ = restored(tmp_path / "2_fine", deconvnet)
    shared = [layer for layer in after.params if layer.startswith("conv")]
    assert len(shared) == 13
    for layer in shared:
        jax.tree.map(np.testing.assert_array_equal, after.params[layer], before.params[layer])


@pytest.fixture
def staged_file(tmp_path):
    """A config file of two stages; `staged_file(names)` gives them other names."""

    def make(names=("coarse", "fine")):
        path = tmp_path / "staged.py"
        path.write_text(
            "from jaxseg.config import default_config\n"
            f"def get_config():\n    return [(name, default_config()) for name in {names!r}]\n"
        )
        return str(path)

    return make


def test_overrides_reach_every_stage_or_the_one_they_name(staged_file):
    words = [("seed", "3"), ("fine.optim.lr", "0.5"), ("init.pretrained", "w"), ("seed", "4")]
    (first, a), (second, b) = read_stages(staged_file(), words)
    assert (first, second) == ("coarse", "fine")
    assert (a.seed, b.seed) == (4, 4)
    assert (a.optim.lr, b.optim.lr) == (0.01, 0.5)
    assert (a.init.pretrained, b.init.pretrained) == ("w", None)
    with pytest.raises(InputError, match="Stage fine: Config field optim.lr is -1.0"):
        read_stages(staged_file(), [("fine.optim.lr", "-1")])
    with pytest.raises(InputError, match=r"no config field optim.lrr.*optim.lr"):
        raise_whole(read_stages, staged_file(), [("fine.optim.lrr", "1")])
    with pytest.raises(InputError, match="no config field finer.seed"):
        read_stages(staged_file(), [("finer.seed", "1")])


def raise_whole(call, *arguments):
    """Calls a function; joins problem and remedy of its InputError into one sentence."""
    try:
        call(*arguments)
    except InputError as e:
        raise InputError(f"{e.problem} {e.remedy}", "") from None


def test_where_one_config_is_needed(staged_file):
    with pytest.raises(InputError, match=r"trains in stages \(coarse, fine\).*staged.py:coarse"):
        raise_whole(read_config, staged_file())


@pytest.mark.parametrize("names", [("a", "a"), ("a", "b/c"), ("model", "a"), ("a", 1.5), ("",)])
def test_invalid_stage_names(staged_file, names):
    with pytest.raises(InputError, match="returned a stage named"):
        read_stages(staged_file(names))


@pytest.mark.nightly
def test_killed_in_any_stage_it_ends_bit_for_bit_the_same(
    process, pair, restored, tiny_file, tmp_path
):
    lines = tiny_file.read_text().replace("def get_config", "def tiny").splitlines()
    lines += ["def get_config():", "    stages = []"]
    for name, network in (("coarse", "fcn32s_vgg16"), ("fine", "fcn16s_vgg16")):
        lines += ["    c = tiny()", f"    c.model.name = '{network}'"]
        lines += [f"    stages.append(('{name}', c))"]
    path = tmp_path / "staged.py"
    path.write_text("\n".join([*lines, "    return stages"]))
    words = ["train", "--config", path, "--config.train.steps=20", "--config.log.pictures=0"]

    whole = tmp_path / "whole"
    run = process(*words, "--workdir", whole)
    out, err = run.communicate(timeout=300)
    assert (run.returncode, err) == (0, "")

    killed = tmp_path / "killed"
    for stage in ("1_coarse", "2_fine"):
        log = killed / stage / "metrics.jsonl"
        run = process(*words, "--workdir", killed, start_new_session=True)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and run.poll() is None:
            if log.exists() and '"step": 12,' in log.read_text():
                os.killpg(run.pid, signal.SIGKILL)
                break
            time.sleep(0.005)
        run.communicate()
        assert run.returncode == -signal.SIGKILL
    run = process(*words, "--workdir", killed)
    out, err = run.communicate(timeout=300)
    assert (run.returncode, err) == (0, "")
    assert "stage 1 of 2: coarse is finished" in out and "resuming from step" in out
    for stage in ("1_coarse", "2_fine"):
        config = read_config(str(tiny_file))
        with config.unlocked():
            config.model.name = "fcn32s_vgg16" if "1" in stage else "fcn16s_vgg16"
        got, want = (restored(folder / stage, config)[0] for folder in (killed, whole))
        jax.tree.map(np.testing.assert_array_equal, got, want)
