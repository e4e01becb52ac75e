"""A run that was killed and started again ends bit for bit as one that was not."""

import json
import os
import random
import signal
import time

import jax
import numpy as np
import pytest

from jaxseg.workdir import Workdir


def entries(workdir):
    """The log by kind and step, without what depends on time; fails on a duplicate."""
    log = {}
    for line in workdir.log.read_text().splitlines():
        entry = json.loads(line)
        assert (entry["kind"], entry["step"]) not in log
        drop = ("images_per_second", "data_wait_share")
        log[entry["kind"], entry["step"]] = {k: v for k, v in entry.items() if k not in drop}
    return log


def kill_when(run, condition):
    """Kills the process group of `run` as soon as `condition()`; returns whether that was so."""
    deadline = time.monotonic() + 300
    while run.poll() is None and time.monotonic() < deadline:
        if condition():
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            return True
        time.sleep(0.002)
    run.communicate()
    return False


def assert_same_run(killed, finished, tiny, restored):
    expected, _ = restored(finished.path, tiny())
    got, position = restored(killed.path, tiny())
    assert position["step"] == 40
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert entries(killed) == entries(finished)
    assert killed.scores.read_text() == finished.scores.read_text()
    assert killed.picture.read_bytes() == finished.picture.read_bytes()
    assert {p.name for p in killed.checkpoints.iterdir()} == {
        p.name for p in finished.checkpoints.iterdir()
    }


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
    assert "going on from step " in out
    assert len(out.splitlines()) < 20 and "\r" not in out  # quiet in a pipe
    assert_same_run(killed, finished_command[0], tiny, restored)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again(finished_command, words, process, tiny, restored, tmp_path, seed):
    """At random moments, and half of the time in the middle of saving."""
    killed = Workdir(tmp_path / "run")
    rng = random.Random(seed)
    kills = 0
    for attempt in range(8):
        saving, wait = attempt % 2, rng.uniform(0, 3)
        after, steps = rng.randint(1, 8), set()
        began = []

        def now(saving=saving, wait=wait, after=after, steps=steps, began=began):
            if saving:
                steps.update(p.name for p in killed.checkpoints.glob("*tmp*"))
                return len(steps) >= after
            if killed.log.exists() and not began:
                began.append(time.monotonic())
            return bool(began) and time.monotonic() > began[0] + wait

        run = process(*words(killed.path), start_new_session=True)
        if not kill_when(run, now):
            break
        kills += 1
    else:
        run = process(*words(killed.path))
        _, err = run.communicate(timeout=300)
        assert run.returncode == 0, err
    assert kills
    assert_same_run(killed, finished_command[0], tiny, restored)
