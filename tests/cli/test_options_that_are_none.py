"""Options that do not exist, and words without an option: the fix is the one that was meant."""

import pytest

from jaxseg.cli import run


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "--lr", "0.1"], "--config.optim.lr=VALUE"),
        (
            ["train", "--batch-size=4"],
            "--config.eval.batch_size=VALUE or --config.train.batch",
        ),
        (["train", "--optim.lr", "0.1"], "--config.optim.lr=VALUE"),
        (["predict", "--input-size", "3"], "--config.eval.input_size=VALUE"),
        (["predict", "--lr", "3", "a.jpg"], "Choose one of|Did you mean"),
        (["check", "photos"], "Write --root photos."),
        (["evaluate", "photos"], "Write --workdir photos"),
        (["evaluate", "--workdir", "'runs/a'"], "Did you mean runs/a?"),
        (["predict", "--workdir", "runs\\a", "a.jpg"], "Did you mean runs/a?"),
        (["predict", "-a.jpg"], "Write ./-a.jpg for the file"),
        (["predict", "a.jpg", "--out", "b.png"], "Give a folder"),
    ],
)
def test_the_fix(tmp_path, monkeypatch, capsys, words, part):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "-a.jpg").touch()
    assert run(words) == 2
    problem, fix = capsys.readouterr().err.splitlines()
    assert any(p in fix for p in part.split("|")), fix


def test_a_current_folder_that_was_removed(tmp_path, monkeypatch, capsys):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    (tmp_path / "a").rmdir()
    assert run(["check", "--data", "scenes"]) == 2
    assert "The current folder no longer exists" in capsys.readouterr().err
