"""A run that is killed and restarted ends bit for bit like an uninterrupted one."""

import json
import os
import random
import re
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from jaxseg.checkpoint import whole_steps
from jaxseg.checkpoint.steps import find_step
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.errors import InputError
from jaxseg.training.loop import train
from jaxseg.training.stages import finished_scores


def entries(workdir):
    """The log by kind and step, without values that depend on time; fails on a duplicate."""
    log = {}
    for line in workdir.log.read_text().splitlines():
        entry = json.loads(line)
        assert (entry["kind"], entry["step"]) not in log
        drop = ("images_per_second", "data_wait_share", "memory_gib")
        log[entry["kind"], entry["step"]] = {k: v for k, v in entry.items() if k not in drop}
    return log


def kill_when(run, condition):
    """Kills the process group of `run` when `condition()` holds; returns whether it did."""
    deadline = time.monotonic() + 300
    while run.poll() is None and time.monotonic() < deadline:
        if condition():
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            return True
        time.sleep(0.002)
    run.communicate()
    return False


def assert_same_run(killed, finished, config, restored):
    expected, _ = restored(finished.path, config)
    got, position = restored(killed.path, config)
    assert position["step"] == 40
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert entries(killed) == entries(finished)
    assert killed.scores.read_text() == finished.scores.read_text()
    assert killed.picture.read_bytes() == finished.picture.read_bytes()
    assert {p.name for p in killed.checkpoints.iterdir()} == {
        p.name for p in finished.checkpoints.iterdir()
    }


def damage_newest(workdir):
    """Changes bits in many places of the largest file of the newest checkpoint.

    One would not be enough: Orbax leaves unused bytes in the file.
    """
    newest = workdir.checkpoints / str(whole_steps(workdir.checkpoints)[-1])
    path = max(newest.rglob("d/*"), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 500):
        data[place] ^= 1
    path.write_bytes(data)


NARROW = {  # networks that train in seconds; fields of `tiny` that they lack are unset
    "fcn8s": {"model.fc_channels": 32},
    "deconvnet": {
        "model.name": "deconvnet_vgg16",
        "model.fc_kernel": 1,
        "model.fc_channels": 32,
        "model.norm": None,
        "model.padding": None,
        "model.dropout": None,
    },
    "pspnet": {
        "model.name": "pspnet_resnet50",
        "model.fc_channels": None,
        "model.norm": None,
        "model.padding": None,
    },
}


@pytest.mark.parametrize(
    "network",
    [
        "fcn8s",
        pytest.param("deconvnet", marks=pytest.mark.nightly),
        pytest.param("pspnet", marks=pytest.mark.nightly),
    ],
)
def test_goes_on_from_a_checkpoint(network, tiny, restored, tmp_path):
    """From a checkpoint, as after kill -9, or from the previous one if the newest is damaged:
    state, log and scores are the same in the end."""
    fields = {"train.steps": 4, "checkpoint.every_steps": 2, "checkpoint.keep_last": 2}
    fields |= {"data.scenes_eval": 2, "log.pictures": 0, "eval.every_steps": None}
    config = tiny(fields | NARROW[network])
    whole = Workdir(tmp_path / "whole")
    train(config, whole.path)
    killed = Workdir(shutil.copytree(whole.path, tmp_path / "killed"))
    damage_newest(killed) if network == "fcn8s" else shutil.rmtree(killed.checkpoints / "4")
    killed.scores.unlink()
    train(config, killed.path)
    want, got = (restored(workdir.path, config)[0] for workdir in (whole, killed))
    assert int(got.step) == 4
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert entries(killed) == entries(whole)
    assert killed.scores.read_text() == whole.scores.read_text()
    assert (killed.checkpoints / "4.damaged").is_dir() == (network == "fcn8s")


@pytest.mark.slow
def test_another_evaluation_on_resume(tiny, tmp_path, capsys):
    """The best checkpoint is that of the new evaluation, though the old score was higher."""
    fields = {"data.scenes_eval": 2, "log.pictures": 0, "eval.every_steps": 2, "train.steps": 4}
    fields |= NARROW["fcn8s"] | {"checkpoint.keep_last": 1}
    work = Workdir(tmp_path / "run")
    train(tiny(fields | {"eval.absent": "one"}), work.path)  # counts absent classes as found
    high = find_step(work.checkpoints, "best")
    fields |= {"eval.absent": "zero", "train.steps": 8}
    capsys.readouterr()
    train(tiny(fields), work.path)
    said = capsys.readouterr().out
    assert "the fields of config.eval are not those of the first 4 steps" in said
    assert high <= 4 < find_step(work.checkpoints, "best")
    assert finished_scores(work.path, tiny(fields))["step"] == 8
    for other in ({"eval.absent": "one"}, {"train.steps": 9}):
        assert finished_scores(work.path, tiny(fields | other)) is None
    with pytest.raises(InputError, match="optim.lr"):
        finished_scores(work.path, tiny(fields | {"optim.lr": 0.5}))


@pytest.mark.optimized
def test_killed_and_started_again(finished_command, words, process, tiny, restored, tmp_path):
    killed = Workdir(tmp_path / "run")

    def reached():
        return killed.log.exists() and '"step": 12,' in killed.log.read_text()

    run = process(*words(killed.path), start_new_session=True)
    assert kill_when(run, reached)
    assert not killed.scores.exists()

    run = process(*words(killed.path))
    out, err = run.communicate(timeout=300)
    assert (run.returncode, err) == (0, "")
    assert "resuming from step " in out
    others = [line for line in out.splitlines() if not line.startswith("step ")]
    assert len(others) < 35 and "\r" not in out  # few lines without a terminal
    assert_same_run(killed, finished_command[0], tiny(), restored)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)]
)
def test_asked_to_stop(finished_command, words, process, tiny, restored, tmp_path, number):
    """It finishes the step, saves it, says so, and ends within seconds with code 75."""
    asked = Workdir(tmp_path / "run")
    run = process(*words(asked.path, {"checkpoint.every_steps": 40}))
    while not (asked.log.exists() and '"step": 12,' in asked.log.read_text()):
        assert run.poll() is None
        time.sleep(0.01)
    began = time.monotonic()
    run.send_signal(number)
    _, err = run.communicate(timeout=300)
    assert time.monotonic() - began < 30
    assert run.returncode == 75
    step = int(re.fullmatch(r"stopped at step (\d+) of 40: .*\n", err)[1])
    assert 12 <= step < 40
    assert step == whole_steps(asked.checkpoints)[-1] == max(s for _, s in entries(asked))

    run = process(*words(asked.path))
    out, err = run.communicate(timeout=300)
    assert (run.returncode, err) == (0, "")
    assert f"resuming from step {step} of 40" in out
    assert_same_run(asked, finished_command[0], tiny(), restored)


@pytest.mark.nightly
def test_asked_twice(finished_command, words, process, tiny, restored, tmp_path):
    """The second signal ends the run at once, whatever it does; it resumes from the last save."""
    asked = Workdir(tmp_path / "run")
    run = process(*words(asked.path))
    while not (asked.log.exists() and '"step": 12,' in asked.log.read_text()):
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    run.send_signal(signal.SIGHUP)  # another kind: the system merges pending signals of one kind
    _, err = run.communicate(timeout=60)
    assert run.returncode == 75 and re.fullmatch(r"stopped by SIG.*: .* the last checkpoint\n", err)
    run = process(*words(asked.path))
    out, err = run.communicate(timeout=300)
    assert (run.returncode, err) == (0, "")
    assert_same_run(asked, finished_command[0], tiny(), restored)


KILLS = 20

# Every feature whose state a step depends on or carries.
FULL = {
    "train.accumulate": 2,
    "optim.ema": 0.9,
    "augment.crop": (32, 32),
    "augment.scale": (0.7, 1.4),
    "augment.rotation": 10.0,
    "augment.blur": 0.3,
    "checkpoint.every_steps": 2,
}


def unfinished(workdir):
    """Names of checkpoints that are not complete, or not yet."""
    whole = map(str, whole_steps(workdir.checkpoints))
    return {p.name for p in workdir.checkpoints.glob("*")} - set(whole)


def a_moment(workdir, rng, kind):
    """A condition for `kill_when`: during the start, a step, or one of the next saves."""
    born, wait, saves = time.monotonic(), rng.uniform(0, 1), rng.randint(1, 4)
    log = workdir.log.read_bytes() if workdir.log.exists() else b""
    left, seen, stepped = unfinished(workdir), set(), []

    def come():
        if kind == "start":
            return time.monotonic() > born + 10 * wait
        if kind == "save":
            seen.update(unfinished(workdir) - left)
            return len(seen) >= saves
        if not stepped and workdir.log.exists() and not log.startswith(workdir.log.read_bytes()):
            stepped.append(time.monotonic())
        return bool(stepped) and time.monotonic() > stepped[0] + wait

    return come


@pytest.mark.nightly
def test_killed_at_twenty_random_moments(words, process, tiny, restored, tmp_path):
    """Half of them during a save, a quarter during steps, a quarter during the start."""
    finished = Workdir(tmp_path / "finished")
    run = process(*words(finished.path, FULL), devices=2)
    assert (run.communicate(timeout=300)[1], run.returncode) == ("", 0)

    rng, runs, kills, in_a_save = random.Random(0), 0, 0, 0
    while kills < KILLS:
        killed = Workdir(tmp_path / f"killed{runs}")
        while True:
            left = unfinished(killed)
            moment = a_moment(killed, rng, ("step", "save", "start", "save")[kills % 4])
            run = process(*words(killed.path, FULL), devices=2, start_new_session=True)
            if not kill_when(run, moment if kills < KILLS else lambda: False):
                break
            kills += 1
            in_a_save += bool(unfinished(killed) - left)
        assert run.returncode == 0
        assert_same_run(killed, finished, tiny(FULL), restored)
        runs += 1
    print(f"{kills} kills, {in_a_save} of them while a checkpoint was being written, {runs} runs")
    assert in_a_save >= KILLS // 4
