"""Small JSON files of a run with any contents: they count as missing, or are input errors."""

import types

import pytest

from jaxseg.checkpoint.lock import LOCK_FILE, running
from jaxseg.checkpoint.steps import saved_mean_iou
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.cli.sweep_folder import SweepFolder
from jaxseg.data.records import INDEX, Records
from jaxseg.errors import InputError
from jaxseg.training.environment import record
from jaxseg.training.stages import _finished


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "7", '"a"', "{", "\0", '{"step": {}}'])
def test_any_contents(tmp_path, text, monkeypatch):
    work = Workdir(tmp_path)
    for path in (work.scores, work.environment, tmp_path / LOCK_FILE, tmp_path / INDEX):
        path.write_text(text)
    (tmp_path / "about.json").write_text(text)
    (tmp_path / "7/metrics").mkdir(parents=True)
    (tmp_path / "7/metrics/metrics").write_text(text)
    monkeypatch.setattr("jaxseg.training.stages.whole_steps", lambda folder: [7])
    assert _finished(work, types.SimpleNamespace()) is None
    assert saved_mean_iou(tmp_path, 7) is None
    assert "process ?" in running(tmp_path)  # as another host's, until it is old
    with pytest.raises(InputError, match="cannot be read"):
        Records(tmp_path, "train")
    with pytest.raises(InputError, match="another --|cannot be read"):
        SweepFolder(tmp_path, "quickstart", [], [[("seed", "1")]])
    record(work.environment, 0)
    assert work.environment.read_text().startswith("[")
