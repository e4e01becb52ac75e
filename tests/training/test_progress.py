"""A run's output and logs while it trains."""

import fcntl
import json
import os
import pty
import re
import sqlite3
import struct
import subprocess
import sys
import termios
import textwrap
import time
import types

import numpy as np
import pytest

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import default_config
from jaxseg.errors import InputError
from jaxseg.report.measure import read_log
from jaxseg.training.loggers import (
    MLflow,
    TensorBoard,
    Trackio,
    WeightsAndBiases,
    check_loggers,
    open_loggers,
)
from jaxseg.training.progress import Progress

SCORES = {"mean_iou": 0.5, "pixel_accuracy": 0.75, "iou": [0.5], "absent": "nan"}


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path)


def steps(workdir, first, last, start=None):
    progress = Progress(workdir, first - 1 if start is None else start, 10, batch_size=4)
    for step in range(first, last + 1):
        progress.advance()
        progress.training(step, 1 / step, 0.1, 2.0)
    progress.close()


def logged(workdir):
    return [json.loads(line) for line in workdir.log.read_text().splitlines()]


def test_lines(workdir, capsys):
    progress = Progress(workdir, 0, 10, batch_size=4, loggers=[TensorBoard(workdir, 0)])
    time.sleep(0.05)
    progress.waited(0.01)
    progress.training(2, 0.25, 0.1, 2.0)
    progress.evaluation(2, SCORES)
    progress.picture(2, np.zeros((4, 6, 3), np.uint8))
    progress.say("hello")
    progress.close()
    train, evaluation = logged(workdir)
    assert 0 < train.pop("images_per_second") <= 2 * 4 / 0.05
    assert 0 < train.pop("data_wait_share") <= 0.2
    assert 0.01 < train.pop("memory_gib") < 1000
    assert train == {
        "kind": "train",
        "step": 2,
        "loss": 0.25,
        "learning_rate": 0.1,
        "gradient_norm": 2.0,
    }
    assert evaluation == {"kind": "eval", "step": 2, "mean_iou": 0.5, "pixel_accuracy": 0.75}
    assert list((workdir.path / "tensorboard").glob("events.out.tfevents.*"))
    out, err = capsys.readouterr()
    line, *rest = out.splitlines()
    assert re.fullmatch(r"step 2 of 10: loss 0\.2500, \d+\.\d images/s, 00:00 left", line)
    assert rest == ["step 2: mean IoU 0.5000, pixel accuracy 0.7500", "hello"]
    assert err == ""  # no progress bar without a terminal


def test_pauses_do_not_count_as_training(workdir):
    progress = Progress(workdir, 0, 10, batch_size=4)
    time.sleep(0.2)
    progress.paused(0.19)
    progress.training(1, 1.0, 0.1, 1.0)
    progress.close()
    assert logged(workdir)[0]["images_per_second"] > 4 / 0.2


def test_later_steps_are_forgotten(workdir):
    """A run that resumes from step 4 logs steps 5 and 6 again."""
    steps(workdir, 1, 6)
    steps(workdir, 5, 8)
    assert [e["step"] for e in logged(workdir)] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "junk",
    [
        b'{"kind": "train", "st',
        b"\xff\xfe\n",
        b"[1]\n",
        b"5\n",
        b"{}\n",
        b"\0\0\n",
        b'{"step": null}\n',
    ],
)
def test_damaged_lines_are_dropped(workdir, junk):
    steps(workdir, 1, 3)
    whole = workdir.log.read_bytes()
    workdir.log.write_bytes(whole + junk)
    steps(workdir, 4, 4)
    assert [e["step"] for e in logged(workdir)] == [1, 2, 3, 4]
    assert workdir.log.read_bytes().startswith(whole)
    assert not list(workdir.path.glob("*.tmp"))


def test_other_processes_are_silent(workdir, capsys):
    progress = Progress(workdir, 0, 10, batch_size=4, enabled=False)
    progress.advance()
    progress.waited(1)
    progress.paused(1)
    progress.training(1, 1.0, 0.1, 1.0)
    progress.evaluation(1, SCORES)
    progress.picture(1, np.zeros((4, 6, 3), np.uint8))
    progress.say("hello")
    progress.close()
    assert capsys.readouterr() == ("", "")
    assert not list(workdir.path.iterdir())


@pytest.mark.slow
def test_bar_on_a_terminal(tmp_path):
    code = f"""
        import time
        from jaxseg.training.progress import Progress
        from jaxseg.checkpoint.workdir import Workdir
        progress = Progress(Workdir({str(tmp_path)!r}), 0, 10, batch_size=4)
        for step in range(1, 6):
            time.sleep(0.15)
            progress.advance()
            progress.training(step, 0.125, 0.003, 1.0)
        progress.say("a line above the bar")
        progress.close()
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:  # Linux's signal that the other end was closed
        pass
    os.close(leader)
    assert run.wait(timeout=60) == 0
    text = shown.decode()
    assert re.search(r"\b4/10 \[\d\d:\d\d<\d\d:\d\d, ", text), text  # time so far < time left
    assert re.search(r"loss 0\.1250, lr 0\.003, \d+\.\d images/s, data wait 0%, ", text), text
    assert re.search(r" \d+\.\d GiB", text), text
    assert "a line above the bar\r\n" in text


class FakeWandb:
    """The functions of wandb that jaxseg uses; records their arguments."""

    Error = type("Error", (Exception,), {})

    def __init__(self, refuses=False):
        self.refuses, self.said = refuses, []

    def init(self, **fields):
        if self.refuses:
            raise self.Error("api_key not configured (no-tty).\nmore")
        self.said.append(("init", fields))
        return self

    def log(self, values, step):
        self.said.append((step, values))

    def Image(self, array):
        return array.shape

    def finish(self):
        self.said.append(("finish", {}))


def test_weights_and_biases(workdir, monkeypatch):
    """Checks the values sent, and that a resumed run continues the same run there."""
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    config = default_config()
    for start in (0, 2, 0):
        logger = WeightsAndBiases(workdir, start, "streets", config)
        progress = Progress(workdir, start, 10, batch_size=4, loggers=[logger])
        progress.training(start + 1, 0.25, 0.1, 2.0)
        progress.evaluation(start + 1, SCORES)
        progress.picture(start + 1, np.zeros((4, 6, 3), np.uint8))
        progress.close()
    (_, first), (step, train), (_, scores), (_, picture), (end, _), *later = wandb.said
    assert (first["project"], first["name"], first["resume"]) == (
        "streets",
        workdir.path.name,
        "allow",
    )
    assert first["config"]["optim.lr"] == config.optim.lr
    assert step == 1 and train["train/loss"] == 0.25
    assert scores == {"eval/mean_iou": 0.5, "eval/pixel_accuracy": 0.75}
    assert (picture, end) == ({"predictions": (4, 6, 3)}, "finish")
    again, anew = (fields["id"] for what, fields in later if what == "init")
    assert again == first["id"] != anew


class FakeMlflow:
    """Like `FakeWandb`, for MLflow."""

    MlflowException = type("MlflowException", (Exception,), {})

    def __init__(self):
        self.said, self.info = [], types.SimpleNamespace(run_id="")

    def set_experiment(self, name):
        self.said.append(("experiment", name))

    def start_run(self, run_id, run_name):
        if run_name == "refused":
            raise self.MlflowException("API request failed.\nmore")
        self.info.run_id = run_id or f"run{len(self.said)}"
        self.said.append(("run", run_id, run_name))
        return self

    def log_params(self, values):
        self.said.append(("params", values["optim.lr"]))

    def log_metrics(self, values, step):
        self.said.append((step, values))

    def log_image(self, image, key, step):
        self.said.append((step, key, image.shape))

    def end_run(self):
        self.said.append("end")


def test_mlflow(workdir, monkeypatch):
    mlflow = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    name = workdir.path.name
    for start in (0, 2, 0):
        logger = MLflow(workdir, start, "streets", default_config())
        logger.scalars(start + 1, {"train/loss": 0.5})
        logger.picture(start + 1, np.zeros((4, 6, 3), np.uint8))
        logger.close()
    begin = [("experiment", "streets"), ("run", None, name), ("params", 0.01)]
    first = [(1, {"train/loss": 0.5}), (1, "predictions", (4, 6, 3)), "end"]
    again = [("experiment", "streets"), ("run", "run1", name), (3, {"train/loss": 0.5})]
    assert mlflow.said[:9] == [*begin, *first, *again]
    assert mlflow.said[11:13] == begin[:2]  # a run from the start gets a new id
    with pytest.raises(InputError, match=r"MLflow could not start: API request failed\. Set MLF"):
        MLflow(Workdir(workdir.path / "refused"), 0, "streets", default_config())


class FakeTrackio(FakeWandb):
    """Trackio has the same names as wandb."""

    def init(self, **fields):
        if self.refuses:
            raise RuntimeError("database is locked\nmore")
        return super().init(**fields)


def test_trackio(workdir, monkeypatch):
    trackio = FakeTrackio()
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    for start in (0, 2, 0):
        logger = Trackio(workdir, start, "streets", default_config())
        logger.scalars(start + 1, {"train/loss": 0.5})
        logger.picture(start + 1, np.zeros((4, 6, 3), np.uint8))
        logger.close()
    begun = [fields for what, fields in trackio.said if what == "init"]
    assert all((f["project"], f["resume"]) == ("streets", "allow") for f in begun)
    assert begun[0]["name"] == begun[1]["name"] != begun[2]["name"]
    assert begun[0]["name"].startswith(f"{workdir.path.name}-")
    assert trackio.said[1:4] == [
        (1, {"train/loss": 0.5}),
        (1, {"predictions": (4, 6, 3)}),
        ("finish", {}),
    ]
    trackio.refuses = True
    with pytest.raises(InputError, match=r"Trackio could not start: database is locked\. Set TR"):
        Trackio(workdir, 0, "streets", default_config())


@pytest.mark.parametrize("name, package, send", [
    ("wandb", FakeWandb, "log"), ("mlflow", FakeMlflow, "log_metrics"),
    ("trackio", FakeTrackio, "log"),
])  # fmt: skip
def test_a_fault_of_a_logger_ends_no_run(name, package, send, workdir, monkeypatch, capsys):
    """Any exception gives one line; other loggers continue, and `close` prints nothing."""
    fake, config = package(), default_config()
    monkeypatch.setitem(sys.modules, name, fake)
    config.log[name] = "streets"
    progress = Progress(workdir, 0, 10, batch_size=4, loggers=open_loggers(workdir, 0, config))
    calls = []

    def fail(*values, **named):
        calls.append(values)
        raise sqlite3.OperationalError("disk I/O error.\nmore")

    monkeypatch.setattr(fake, send, fail)
    for step in (1, 2):
        progress.training(step, 0.25, 0.1, 2.0)
        progress.flush()
    progress.close()
    assert len(calls) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "nothing more" in line]
    assert len(told) == 1 and told[0].endswith(" gets nothing more of this run: disk I/O error")
    (events,) = (workdir.path / "tensorboard").iterdir()
    assert events.read_bytes().count(b"train/loss") == 2


def test_weights_and_biases_without_login_or_package(workdir, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(refuses=True))
    with pytest.raises(InputError, match=r"start: api_key not configured \(no-tty\)\. Log in"):
        WeightsAndBiases(workdir, 0, "streets", default_config())
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    log = default_config().log
    check_loggers(log)
    for name in ("wandb", "mlflow", "trackio"):
        log = default_config().log
        log[name] = "streets"
        with pytest.raises(InputError, match=rf"pip install 'jaxseg\[{name}\]'"):
            check_loggers(log)


def test_events_are_on_disk_before_a_save(workdir):
    """A kill after a checkpoint loses no curve points of the steps before it."""
    board = TensorBoard(workdir, 0)
    for step in range(1, 30):
        board.scalars(step, {"train/loss": step})
    board.picture(29, np.zeros((4, 6, 3), np.uint8))
    board.flush()
    (path,) = (workdir.path / "tensorboard").iterdir()
    written = path.read_bytes()
    board.close()
    assert path.read_bytes() == written and written.count(b"train/loss") == 29


FOREIGN = b'{"step": 1}\n{"kind": "eval", "step": 1}\n{"kind": [], "step": true, "loss": 1}\n'


def test_invalid_log_lines_are_skipped_with_a_note(workdir, capsys):
    good = json.dumps({"kind": "train", "step": 1, "loss": 0.5}) + "\n"
    workdir.log.write_bytes(good.encode() + b"\x00\xff\n[1]\n" + FOREIGN + b'{"kind": "tr')
    assert read_log(workdir.log) == [json.loads(good)]
    assert "ignored 6 truncated or foreign line(s)" in capsys.readouterr().err
    Progress(workdir, 1, 10, batch_size=4).close()
    assert "ignored 6 truncated or foreign line(s)" in capsys.readouterr().out
    assert workdir.log.read_text() == good
