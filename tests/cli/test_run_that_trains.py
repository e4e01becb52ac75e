"""Commands that read a run while it trains and removes checkpoints."""

import signal
import time

import numpy as np
import pytest
from PIL import Image

from jaxseg.checkpoint import whole_steps
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.cli import run
from jaxseg.data import Scenes


@pytest.mark.slow
def test_a_run_is_scored_reported_and_used_while_it_trains(process, words, tmp_path, capsys):
    fields = {"train.steps": 1_000_000, "log.every_steps": 50, "checkpoint.keep_last": 1}
    work, photo, page = Workdir(tmp_path / "run"), tmp_path / "a.png", tmp_path / "page.html"
    Image.fromarray(Scenes(0, 1, (32, 32))[0].image).save(photo)
    training = process(*words(work.path, fields), devices=1)
    try:
        end = time.monotonic() + 120
        while not whole_steps(work.checkpoints):
            assert training.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        first = whole_steps(work.checkpoints)[-1]
        there = ["--workdir", str(work.path)]
        assert not run(["predict", *there, str(photo), "--out", str(tmp_path / "out")])
        assert not run(["evaluate", *there, "--step", "best"])
        assert not run(["report", *there, "--out", str(page)])
        assert training.poll() is None and whole_steps(work.checkpoints)[-1] > first
    finally:
        training.send_signal(signal.SIGTERM)
        training.communicate(timeout=120)
    assert training.returncode == 75
    assert np.asarray(Image.open(tmp_path / "out/a.png")).shape == (32, 32)
    assert "the run run has not reached its last step" in page.read_text()
    capsys.readouterr()
