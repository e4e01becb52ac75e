import json
import pathlib
import re
import shlex
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli import run, sweep
from jaxseg.report.runs import open_runs

WORDS = ["sweep", "--config", "quickstart", "--config.train.steps=60"]


class Trainings:
    """Replaces training processes: each writes the next score, or fails."""

    def __init__(self, scores):
        self.commands: list[list[str]] = []
        self._scores = list(scores)

    def __call__(self, command, process_group, stdout):
        self.stdout = stdout
        self.commands.append(command)
        self._score = self._scores.pop(0)
        return self

    def wait(self):
        if not isinstance(self._score, float):
            return self._score
        workdir = pathlib.Path(self.commands[-1][self.commands[-1].index("--workdir") + 1])
        workdir.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"mean_iou": self._score, "pixel_accuracy": 0.5})
        (workdir / "scores.json").write_text(text)
        return 0


def test_every_combination_once_and_the_best_is_marked(tmp_path, monkeypatch, capsys):
    trained = Trainings([0.3, 0.6, 2, 0.4])
    monkeypatch.setattr(subprocess, "Popen", trained)
    sets = ["--set", "optim.lr=0.1,0.2", "--set", "augment.scale=(0.5, 2.0),(1.0, 1.0)"]
    out = tmp_path / "sweep"
    assert run([*WORDS, *sets, "--out", str(out)]) == 2  # as one failed
    given = [[w for w in c if w.startswith("--config.")] for c in trained.commands]
    assert given == [
        ["--config.train.steps=60", f"--config.optim.lr={lr}", f"--config.augment.scale={scale}"]
        for lr in (0.1, 0.2)
        for scale in ("(0.5, 2.0)", "(1.0, 1.0)")
    ]
    assert len({c[c.index("--workdir") + 1] for c in trained.commands}) == 4
    results = json.loads((out / "sweep.json").read_text())
    assert [r["mean_iou"] for r in results] == [0.6, 0.4, 0.3, None]
    assert results[0]["fields"] == {"optim.lr": "0.1", "augment.scale": "(1.0, 1.0)"}
    said, problem = capsys.readouterr()
    assert "1 of 4 runs failed: 03_optim.lr=0.2," in problem
    assert "run 4 of 4: optim.lr = 0.2, augment.scale = (1.0, 1.0)" in said
    (best,) = [line for line in said.splitlines() if line.startswith("best")]
    assert best.split()[1] == "0.6000" and "failed" in said


def in_this_process(config, fields, workdir, quiet):
    """Replaces a training process."""
    given = [f"--config.{name}={value}" for name, value in fields]
    return run(["train", "--config", config, "--workdir", str(workdir), *given])


@pytest.mark.slow
def test_the_cross_validation_of_the_guide(repository, tmp_path, monkeypatch):
    """The command of docs/guides/training.md, with two folds, a small network and few steps."""
    guide = (repository / "docs/guides/training.md").read_text()
    text = guide.partition("## Cross-validation")[2]
    command = shlex.split(re.search(r"python -m jaxseg (sweep .*?)```", text, re.S)[1])
    command = [word for word in command if word.strip()]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "_train", in_this_process)
    for part in ("images", "masks"):
        (tmp_path / "photos" / part).mkdir(parents=True)
    (tmp_path / "photos/classes.txt").write_text("ground\nbox\n")
    names = [f"video{v}_{frame}" for v in range(6) for frame in range(4)]
    mask = np.zeros((40, 56), np.uint8)
    mask[9:20, 9:30] = 1
    for k, name in enumerate(names):
        image = np.stack([mask * 90 + k, mask * 50, mask], 2)
        Image.fromarray(image).save(tmp_path / f"photos/images/{name}.png")
        Image.fromarray(mask).save(tmp_path / f"photos/masks/{name}.png")
    command[command.index("--config") + 1] = str(repository / "configs/camvid_fcn8s.py")
    command[command.index("--set") + 1] = "data.fold=0/2,1/2"
    small = {
        **{"model.width": 0.03, "model.fc_channels": 16, "augment.crop": "(32, 32)"},
        **{"train.steps": 3, "train.batch_size": 8, "optim.warmup_steps": 1},
        **{"eval.every_steps": None, "eval.input_size": None},
    }
    assert run([*command, *(f"--config.{name}={value}" for name, value in small.items())]) == 0
    workdirs = sorted(pathlib.Path("runs/folds").glob("*_data.fold=*"))
    opened = open_runs(workdirs)
    scored = [[r.source.name(i) for i in range(len(r.source))] for r in opened.values()]
    assert len(scored) == 2 and sorted(scored[0] + scored[1]) == names
    videos = [{name.partition("_")[0] for name in fold} for fold in scored]
    assert not videos[0] & videos[1]
    assert "2 of 2 folds: 24 images" in pathlib.Path("runs/folds/report.html").read_text()


@pytest.mark.parametrize("code", [75, 130, -signal.SIGTERM])
def test_a_sweep_stops_with_its_run_and_goes_on(tmp_path, monkeypatch, capsys, code):
    out = tmp_path / "sweep"
    words = [*WORDS, "--set", "optim.lr=0.1,0.2,0.3", "--out", str(out)]
    first = Trainings([0.3, code])
    monkeypatch.setattr(subprocess, "Popen", first)
    assert run(words) == 75 and len(first.commands) == 2
    assert "run the same command to resume" in capsys.readouterr().err
    again = Trainings([0.3, 0.4, 0.5])
    monkeypatch.setattr(subprocess, "Popen", again)
    assert run(words) == 0
    assert again.commands[:2] == first.commands  # in the same workdirs, where `train` resumes


@pytest.mark.parametrize("code", [1, 2, -signal.SIGKILL, -signal.SIGSEGV])
def test_a_failed_run_stops_no_other(tmp_path, monkeypatch, code):
    trained = Trainings([code, 0.4])
    monkeypatch.setattr(subprocess, "Popen", trained)
    assert run([*WORDS, "--set", "optim.lr=0.1,0.2", "--out", str(tmp_path / "s")]) == 2
    results = json.loads((tmp_path / "s/sweep.json").read_text())
    assert [r["mean_iou"] for r in results] == [0.4, None]


def test_more_values_are_more_runs_and_the_others_are_kept(tmp_path, monkeypatch, capsys):
    words = [*WORDS, "--out", str(tmp_path / "s"), "--set"]
    monkeypatch.setattr(subprocess, "Popen", Trainings([0.3, 0.4]))
    assert run([*words, "optim.lr=1e-3,3e-3"]) == 0
    monkeypatch.setattr(sweep, "_is_finished", lambda *a: (a[-1] / "scores.json").is_file())
    again = Trainings([0.2])
    monkeypatch.setattr(subprocess, "Popen", again)
    capsys.readouterr()
    assert run([*words, "optim.lr=1e-2,0.001"]) == 0  # another order, spelling and fewer values
    assert [w for w in again.commands[0] if "lr" in w][1:] == ["--config.optim.lr=1e-2"]
    assert "run 2 of 2: optim.lr = 1e-3: is finished" in capsys.readouterr().out
    results = json.loads((tmp_path / "s/sweep.json").read_text())
    assert [r["fields"]["optim.lr"] for r in results] == ["3e-3", "1e-3", "1e-2"]
    assert len({r["workdir"] for r in results}) == 3


def test_a_folder_of_an_older_version_goes_on(tmp_path, monkeypatch):
    (tmp_path / "02_optim.lr=3e-3").mkdir()
    about = {"config": "quickstart", "config_fields": [["train.steps", "60"]]}
    about["set"] = [["optim.lr", ["1e-3", "3e-3"]]]
    (tmp_path / "about.json").write_text(json.dumps(about))
    trained = Trainings([0.3, 0.4])
    monkeypatch.setattr(subprocess, "Popen", trained)
    assert run([*WORDS, "--set", "optim.lr=1e-2,3e-3", "--out", str(tmp_path)]) == 0
    folders = [c[c.index("--workdir") + 1] for c in trained.commands]
    assert folders[1] == str(tmp_path / "02_optim.lr=3e-3") and folders[0] != folders[1]


def test_json_alone_on_standard_output(tmp_path, monkeypatch, capsys):
    trained = Trainings([0.3])
    monkeypatch.setattr(subprocess, "Popen", trained)
    assert run([*WORDS, "--set", "seed=1", "--out", str(tmp_path / "s"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["mean_iou"] == 0.3
    assert trained.stdout == 2  # the lines of the training go to standard error


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--set", "optim.lr"], "does not have the form FIELD=V1,V2"),
        (["--set", "optim.lr=0.1,0.1"], "a value twice"),
        (["--set", "optim.lr=0.1,1e-1"], "optim.lr = 0.1 and optim.lr = 1e-1 are the same run"),
        (["--set", "optim.lr=1,2", "--set", "optim.lr=3"], "optim.lr is given twice"),
        (["--set", "optim.speed=1,2"], "speed"),
        (["--set", "optim.lr=0.1,-1"], "optim.lr"),
        (["--set", "optim.lr=0.1,0.2", "--random", "3"], "there are 2 combinations"),
    ],
)
def test_refusals(tmp_path, monkeypatch, capsys, more, part):
    monkeypatch.setattr(subprocess, "Popen", Trainings([]))
    out = tmp_path / "sweep"
    assert run([*WORDS, *more, "--out", str(out)]) == 2
    problem, remedy = capsys.readouterr().err.splitlines()
    assert part in problem and remedy.startswith("fix: ") and not out.exists()


def test_a_training_that_outlived_its_sweep_has_not_failed(tmp_path, monkeypatch, capsys):
    trainings = Trainings([0.3])
    monkeypatch.setattr(subprocess, "Popen", trainings)
    monkeypatch.setattr(sweep, "running", lambda w: "process 7 on here" if "02" in w.name else None)
    assert run([*WORDS, "--set", "optim.lr=0.1,0.2", "--out", str(tmp_path / "s")]) == 2
    assert "0.2 is still being trained by process 7 on here" in capsys.readouterr().err
    assert len(trainings.commands) == 1 and not (tmp_path / "s/sweep.json").exists()


def test_a_file_as_the_folder(tmp_path, capsys):
    (tmp_path / "s").write_text("")
    assert run([*WORDS, "--set", "seed=1", "--out", str(tmp_path / "s")]) == 2
    assert "s cannot be written: File exists.\nfix: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "more", "part"),
    [
        ("quickstart", ["--set", "seed=1"], "other fields in --set: optim.lr instead of seed"),
        ("quickstart", ["--set", "optim.lr=1", "--config.seed=2"], "other --config fields"),
        ("camvid_fcn8s", ["--set", "optim.lr=1"], "another --config: quickstart instead of"),
    ],
)
def test_another_sweep_in_the_folder(tmp_path, monkeypatch, capsys, config, more, part):
    monkeypatch.setattr(subprocess, "Popen", Trainings([0.3, 0.4]))
    assert run([*WORDS[:3], "--set", "optim.lr=0.1,0.2", "--out", str(tmp_path)]) == 0
    before = (tmp_path / "about.json").read_bytes()
    assert run(["sweep", "--config", config, *more, "--out", str(tmp_path)]) == 2
    assert part in capsys.readouterr().err
    assert (tmp_path / "about.json").read_bytes() == before
