"""Conditions under which a run may resume in a folder."""

import pathlib
import shutil

import pytest

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import load_config, save_config
from jaxseg.errors import InputError
from jaxseg.training.exhausted import run_error


def add_checkpoint(workdir, step=5):
    add_checkpoint_to(workdir.checkpoints, step)


def add_checkpoint_to(folder, step=5):
    """Writes the files that mark a complete checkpoint."""
    for part in ("_CHECKPOINT_METADATA", "state/_METADATA", "position/metadata"):
        path = folder / str(step) / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


@pytest.fixture
def started(tmp_path, tiny):
    """The workdir of a run of `tiny()` that has a checkpoint."""
    workdir = Workdir(tmp_path / "run")
    workdir.open(tiny())
    save_config(tiny(), workdir.config)
    add_checkpoint(workdir)
    return workdir


def test_makes_the_folder(tmp_path, tiny):
    workdir = Workdir(tmp_path / "a" / "b")
    workdir.open(tiny())
    assert workdir.path.is_dir()
    assert {workdir.config.parent, workdir.scores.parent, workdir.log.parent} == {workdir.path}


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workdir("~/run").path == tmp_path / "run"


@pytest.mark.parametrize(
    "field, value",
    [
        ("train.steps", 80),
        ("log.every_steps", 7),
        ("eval.batch_size", 16),
        ("checkpoint.keep_last", 3),
        ("data.threads", 1),
        ("data.cache", True),
        ("data.root", "elsewhere"),
    ],
)
def test_resumes_if_only_such_a_field_changed(started, tiny, field, value):
    started.open(tiny({field: value}))


@pytest.mark.parametrize(
    "field, value, was",
    [
        ("model.width", 0.5, "0.03"),
        ("seed", 1, "0"),
        ("optim.lr", 0.5, "0.1"),
        ("train.batch_size", 16, "8"),
        ("data.scenes_size", (48, 48), "(32, 32)"),
        ("model.norm", None, "'batch'"),
    ],
)
def test_refuses_another_run(started, tiny, field, value, was):
    before = started.config.read_bytes()
    with pytest.raises(InputError) as caught:
        started.open(tiny({field: value}))
    assert f"{field} = {was}, not {value!r}." in caught.value.problem
    assert str(started.path) in caught.value.problem
    assert started.config.read_bytes() == before


def test_any_run_may_start_in_a_workdir_without_a_checkpoint(tmp_path, tiny):
    workdir = Workdir(tmp_path / "run")
    workdir.open(tiny())
    save_config(tiny(), workdir.config)
    (workdir.checkpoints / "5.orbax-checkpoint-tmp").mkdir()
    (workdir.checkpoints / "5").mkdir()
    workdir.open(tiny({"model.width": 0.5}))
    workdir.config.write_text("{ broken")
    workdir.open(tiny())


@pytest.mark.parametrize("text", ["{ broken", "", "[]", '{"no.such": 1}', "\0\0\0"])
def test_config_that_was_damaged_is_named(started, tiny, text):
    started.config.write_text(text)
    with pytest.raises(InputError, match="config.json"):
        started.open(tiny())
    assert started.config.read_text() == text


@pytest.mark.parametrize("where", ["file/sub", "file"])
def test_folder_that_cannot_be_written(tmp_path, tiny, where):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written") as caught:
        Workdir(tmp_path / where).open(tiny())
    assert "--workdir" in caught.value.remedy
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://bucket/run"])
@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_bucket_is_refused(monkeypatch, tmp_path, address, kind):
    """The address does not become a local folder of that name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is a bucket.*checkpoint.folder=gs://"):
        Workdir(kind(address))
    assert not list(tmp_path.iterdir())
    assert Workdir(kind("c:/run")).path.name == "run"


@pytest.fixture
def elsewhere(tmp_path, tiny):
    """A run of `tiny()` with its checkpoint in another folder: (config, workdir, folder)."""
    folder = tmp_path / "disk" / "of checkpoints"
    config = tiny({"checkpoint.folder": str(folder)})
    workdir = Workdir(tmp_path / "run", str(folder))
    workdir.open(config)
    save_config(config, workdir.config)
    add_checkpoint(workdir)
    return config, workdir, folder


def test_checkpoints_elsewhere(elsewhere, tiny):
    config, workdir, folder = elsewhere
    assert workdir.checkpoints == Workdir.existing(workdir.path).checkpoints == folder
    assert load_config(folder / "config.json") == config
    assert {p.name for p in workdir.path.iterdir()} == {"config.json"}
    workdir.open(tiny({"checkpoint.folder": str(folder), "train.steps": 80}))


def test_goes_on_from_a_folder_whose_workdir_is_lost(elsewhere, tmp_path, tiny):
    config, workdir, folder = elsewhere
    workdir.config.unlink()
    workdir.path.rmdir()
    workdir.open(config)
    other = tiny({"checkpoint.folder": str(folder), "seed": 1})
    for path in (workdir.path, tmp_path / "another"):
        with pytest.raises(
            InputError, match=f"folder {folder} contains a run with seed = 0, not 1"
        ) as error:
            Workdir(path, str(folder)).open(other)
        assert error.value.remedy.startswith("Resume it with --config.seed=0, or")
    assert not (tmp_path / "another").exists()
    assert load_config(folder / "config.json") == config


def test_checkpoints_that_are_left_behind_are_named(elsewhere, tmp_path, tiny):
    """Otherwise the run would start again from nothing in the new folder."""
    config, workdir, folder = elsewhere
    moved = tmp_path / "moved"
    for config, address in ((tiny(), None), (tiny({"checkpoint.folder": str(moved)}), str(moved))):
        with pytest.raises(InputError, match=f"{folder}; the newest, 5, is missing in") as e:
            Workdir(workdir.path, address).open(config)
        assert "checkpoint.folder" in e.value.remedy
    assert not moved.exists()
    add_checkpoint_to(moved)
    Workdir(workdir.path, str(moved)).open(config)


def test_folder_of_checkpoints_that_cannot_be_written(tmp_path, tiny):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        Workdir(tmp_path / "run", str(tmp_path / "file/sub")).open(tiny())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("where", ["missing", "."])
def test_existing_wants_a_run(tmp_path, where):
    with pytest.raises(InputError, match="not a run's workdir"):
        Workdir.existing(tmp_path / where)
    assert not list(tmp_path.iterdir())


def test_existing(started, tiny):
    assert load_config(Workdir.existing(started.path).config) == tiny()


def test_removed_during_the_run(started, tiny):
    """Whatever error follows, such as Orbax's own, the cause is told; not before the run began."""
    started.check_present()
    shutil.rmtree(started.path)
    with pytest.raises(InputError, match="was removed or emptied during the run"):
        started.check_present()
    told = run_error(ValueError("No ArrayMetadata found"), tiny(), started, began=True)
    assert told is not None and str(started.path) in told.problem
    assert run_error(ValueError("no such file"), tiny(), started) is None
    add_checkpoint(started)
    with pytest.raises(InputError, match="config.json is missing. Remove .*checkpoints"):
        started.open(tiny())
