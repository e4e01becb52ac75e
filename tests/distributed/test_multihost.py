"""Two processes of four devices act as one of eight; whatever ends one of them ends both."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from jaxseg.checkpoint import whole_steps
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.data import open_data
from jaxseg.data.scenes import Scenes

# Eleven images to score in batches of eight: the last batch is not full. fc6 is large enough to be
# split; the learning rate is so low that last-bit differences do not grow.
FIELDS = {
    "train.steps": 16,
    "optim.lr": 0.016,
    "data.scenes_eval": 11,
    "eval.every_steps": 8,
    "model.fc_channels": 3200,
}


@pytest.fixture(scope="module")
def together(repository):
    """`together(*words)`: starts two processes of four devices by the launcher; a `Popen`."""

    def start(*words):
        launcher = [repository / "launch" / "local.py", "--processes", 2, "--devices", 4, "--"]
        return subprocess.Popen(
            [sys.executable, *map(str, launcher), *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def finish(run, timeout=300):
    """(exit code, output, errors) of a run that must end by itself."""
    try:
        out, err = run.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        pytest.fail(f"still running; {run.communicate()}")
    return run.returncode, out, err


def wait_until(run, workdir, text, timeout=300):
    """Waits until `text` is in the log."""
    until = time.monotonic() + timeout
    while not (workdir.log.exists() and text in workdir.log.read_text()):
        assert run.poll() is None and time.monotonic() < until
        time.sleep(0.02)


def losses(workdir):
    log = map(json.loads, workdir.log.read_text().splitlines())
    return {e["step"]: e["loss"] for e in log if e["kind"] == "train"}


def assert_close(got, want):
    assert got.keys() == want.keys()
    np.testing.assert_allclose(list(got.values()), list(want.values()), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def script(repository, tiny_file):
    """`script(workdir, fields)`: a command that trains there and leaves a confusion matrix."""

    def words(workdir, fields=None):
        changes = [f"{name}={value}" for name, value in (FIELDS | (fields or {})).items()]
        path = repository / "tests" / "distributed" / "one_of_many.py"
        return [path, tiny_file, workdir, *changes]

    return words


@pytest.fixture(scope="module")
def alone(script, tmp_path_factory):
    """The same run in one process with the tests' eight devices."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    subprocess.run([sys.executable, *map(str, script(workdir))], check=True, timeout=300)
    return Workdir(workdir)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, marks=pytest.mark.slow, id="data"),
        pytest.param({"train.fsdp": 8}, marks=pytest.mark.nightly, id="fsdp"),
    ],
)
def test_losses_scores_and_counts_are_those_of_one_process(
    together, script, alone, tiny, tmp_path, fields
):
    workdir = Workdir(tmp_path / "run")
    code, out, err = finish(together(*script(workdir.path, fields)))
    assert code == 0, err
    assert_close(losses(workdir), losses(alone))
    assert losses(alone)[16] < losses(alone)[1] - 0.01
    expected = np.load(alone.path / "confusion.npy")
    labels = [open_data(tiny(FIELDS).data, "eval")[i].label for i in range(11)]
    assert expected.sum() == (np.stack(labels) != 255).sum()
    assert (expected.sum(axis=0) > 0).sum() > 1
    np.testing.assert_array_equal(np.load(workdir.path / "confusion.npy"), expected)
    of_maps = np.load(alone.path / "confusion_of_maps.npy")
    assert of_maps.sum() == expected.sum()
    np.testing.assert_array_equal(np.load(workdir.path / "confusion_of_maps.npy"), of_maps)
    assert workdir.scores.read_text() == alone.scores.read_text()
    assert workdir.picture.read_bytes() == alone.picture.read_bytes()
    placed = (workdir.checkpoints / "16" / "state" / "_sharding").read_text()
    assert bool(re.search(r'partition_spec\\": \[[^]]*fsdp', placed)) == bool(fields)


@pytest.mark.slow
def test_a_signal_to_all_saves_one_step_and_one_process_goes_on(
    together, words, process, alone, tmp_path
):
    workdir = Workdir(tmp_path / "run")
    run = together(*words(workdir.path, FIELDS | {"checkpoint.every_steps": 100}))
    wait_until(run, workdir, '"step": 2,')
    run.send_signal(signal.SIGTERM)
    code, out, err = finish(run, timeout=60)
    step = whole_steps(workdir.checkpoints)[-1]
    assert code == 75
    assert err.count(f"stopped at step {step} of 16: ") == 2
    assert 2 <= step < 16

    code, out, err = finish(process(*words(workdir.path, FIELDS)))
    assert (code, err) == (0, "")
    assert f"resuming from step {step} of 16" in out
    assert_close(losses(workdir), losses(alone))


@pytest.mark.slow
def test_evaluate(together, alone):
    code, out, err = finish(together("evaluate", "--workdir", alone.path))
    assert code == 0, err
    assert out.count("pixel accuracy") == 1
    assert f"{json.loads(alone.scores.read_text())['mean_iou']:.4f}" in out


@pytest.fixture
def photographs(tmp_path):
    """A data set of eight training photographs, the sixth of which is damaged."""
    root = tmp_path / "photographs"
    for split, count in (("train", 8), ("val", 3)):
        scenes = Scenes(0, count, (32, 32))
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(scenes[i].image).save(root / f"images/{split}/{i}.png")
            Image.fromarray(scenes[i].label).save(root / f"masks/{split}/{i}.png")
    (root / "classes.txt").write_text("\n".join(scenes.info.class_names))
    damaged = root / "images/train/5.png"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    return root


@pytest.mark.slow
def test_a_bad_file_that_one_process_reads_ends_both(together, words, photographs, tmp_path):
    fields = FIELDS | {"data.name": "folder", "data.root": photographs}
    code, out, err = finish(together(*words(tmp_path / "run", fields)), timeout=120)
    assert code == 2
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if "5.png" in line]
    assert len(told) == 2 and err.count("\nfix: ") == 2, err
    assert sum("error: process " in line for line in told) == 1


@pytest.mark.nightly
def test_a_bad_file_is_skipped_by_the_process_that_reads_it(together, words, photographs, tmp_path):
    fields = FIELDS | {"data.name": "folder", "data.root": photographs, "data.on_error": "skip"}
    code, out, err = finish(together(*words(tmp_path / "run", fields)))
    assert code == 0, err
    assert "skipped: " in out and "5.png" in out
    assert Workdir(tmp_path / "run").scores.exists()


@pytest.mark.slow
def test_another_config_in_the_workdir_is_told_by_both(together, words, alone):
    """Only the first process checks; the other waits for it."""
    run = together(*words(alone.path, FIELDS | {"optim.lr": 0.5}))
    code, out, err = finish(run, timeout=120)
    assert code == 2 and "Traceback" not in err
    assert err.count("optim.lr = 0.016, not 0.5.") == 2


@pytest.mark.nightly
def test_a_process_that_dies_ends_the_other(together, words, tmp_path):
    workdir = Workdir(tmp_path / "run")
    run = together(*words(workdir.path, FIELDS | {"train.steps": 10000}))
    wait_until(run, workdir, '"step": 2,')
    children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    code, out, err = finish(run, timeout=60)
    assert code not in (0, 2, 75)


def forget_the_others(monkeypatch):
    """Removes any environment variables that describe other processes."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "JAXSEG_CO", "JAXSEG_PR")):
            monkeypatch.delenv(name)


@pytest.mark.slow
def test_nobody_is_named(words, process, tmp_path, monkeypatch):
    forget_the_others(monkeypatch)
    run = process(*words(tmp_path / "run"), "--distributed")
    _, err = run.communicate(timeout=120)
    assert run.returncode == 2
    assert re.search(r"--distributed: no coordinator .*\nfix: .*JAXSEG_COORDINATOR=HOST:PORT", err)


@pytest.mark.parametrize(
    ("coordinator", "count", "index", "reason"),
    [
        ("127.0.0.1:1", "2", None, "JAXSEG_PROCESS is not set"),
        ("127.0.0.1:1", "2", "2", "JAXSEG_PROCESS must be from 0 to 1"),
        ("host", "2", "0", "JAXSEG_COORDINATOR must be HOST:PORT"),
        ("127.0.0.1:1", "two", "0", "JAXSEG_PROCESSES must be a whole number"),
    ],
)
def test_nothing_says_who_belongs_together(coordinator, count, index, reason, monkeypatch):
    """An error at once, before any device is used, without waiting."""
    from jaxseg.distributed.multihost import joined
    from jaxseg.errors import InputError

    forget_the_others(monkeypatch)
    names = ("JAXSEG_COORDINATOR", "JAXSEG_PROCESSES", "JAXSEG_PROCESS")
    for name, value in zip(names, (coordinator, count, index), strict=True):
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=rf"--distributed: .*\({reason}\)"):
        with joined():
            pytest.fail("joined")


def test_distributed_wants_a_workdir(words, capsys):
    from jaxseg.__main__ import main

    assert main([*words("w")[:3], "--distributed"]) == 2
    assert "--distributed needs --workdir" in capsys.readouterr().err
