"""What this user may not read is named: it is no empty folder, no damage and no traceback."""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile

import pytest

from jaxseg.checkpoint.damage import DamagedCheckpoint, reading_step
from jaxseg.checkpoint.lock import WorkdirLock
from jaxseg.checkpoint.steps import whole_steps
from jaxseg.cli.exhausted import command_error
from jaxseg.data.formats.shapes import read_json
from jaxseg.data.listing import files_by_stem, read_lines
from jaxseg.errors import InputError
from jaxseg.pretrained.folder import _read_about
from jaxseg.pretrained.formats.stored import FileBytes
from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.files import walk_files

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")


@pytest.fixture
def folder():
    """An open folder, unlike tmp_path, which belongs to root alone if root runs the tests."""
    made = pathlib.Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@contextlib.contextmanager
def closed(path, mode=0):
    """Takes the permissions of `path` away; root, who needs none, is another user meanwhile."""
    before = path.stat().st_mode
    path.chmod(mode)
    root = os.geteuid() == 0
    try:
        if root:
            os.setegid(65534)
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)
        path.chmod(before)


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


@pytest.mark.parametrize(
    "read",
    [
        read_lines,
        lambda path: read_json(path, "Export it again."),
        _read_about,
        FileBytes,
    ],
    ids=["text", "JSON", "model.json", "weights"],
)
def test_a_closed_file_is_not_damaged(folder, read):
    files(folder, "a.txt")
    with closed(folder / "a.txt"), pytest.raises(InputError) as error:
        read(folder / "a.txt")
    assert str(folder / "a.txt") in error.value.problem
    assert error.value.remedy == "Make it readable for this user."
    assert "Errno" not in error.value.problem


def test_a_closed_folder_is_not_empty(folder):
    files(folder, "images/a.png", "images/b/c.png", "images/lost+found/d")
    with closed(folder / "images/lost+found"):  # at the root of every disk
        assert len(list(walk_files(folder))) == 2
    for at in ("images/b", "images"):
        with closed(folder / at), pytest.raises(InputError, match=f"No permission.*{at}"):
            files_by_stem(folder, (".png",), nested=True)


def test_a_workdir_among_the_data_is_no_data(folder):
    files(folder, "images/a.png", "images/run/predictions.png", "images/b/config.json")
    files(folder, "images/run/config.json", "images/run/classes.json")
    found = [str(path.relative_to(folder)) for path in walk_files(folder)]
    assert found == ["images/a.png", "images/b/config.json"]
    assert len(list(walk_files(folder / "images/run"))) == 3  # asked for by name


def test_a_pipe_is_not_replaced(folder):
    """Root would replace /dev/stdout or /dev/null, for every program."""
    os.mkfifo(folder / "pipe")
    (folder / "stdout").symlink_to(folder / "pipe")
    for name in ("pipe", "stdout"):
        with pytest.raises(InputError, match=f"{name} is a device or a pipe"):
            write_atomic(folder / name, "page")
    assert sorted(p.name for p in folder.iterdir() if p.is_fifo()) == ["pipe", "stdout"]


def test_a_closed_checkpoint_is_neither_missing_nor_damaged(folder):
    """Resuming would otherwise put it aside and train its steps again."""
    parts = ("_CHECKPOINT_METADATA", "state/_METADATA", "position/metadata", "state/d/1")
    files(folder, *(f"4/{part}" for part in parts))
    assert whole_steps(folder) == [4]
    for at in ("", "4", "4/state"):
        with closed(folder / at), pytest.raises(InputError, match="No permission"):
            whole_steps(folder)
    with pytest.raises(DamagedCheckpoint), reading_step(folder, 4):
        raise ValueError("Orbax hides the reason")
    with (
        closed(folder / "4/state/d/1"),
        pytest.raises(InputError, match="No permission to read .*4/state/d/1"),
        reading_step(folder, 4),
    ):
        raise ValueError("Orbax hides the reason")


def test_a_run_needs_a_workdir_that_it_may_write(folder):
    with closed(folder, 0o555), pytest.raises(InputError, match="cannot be written: Permission"):
        WorkdirLock(folder).__enter__()
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "number, told",
    [
        (errno.EACCES, "Give this user permission"),
        (errno.EROFS, "you can write to"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EIO, "Check the disk"),
        (errno.ENOENT, None),  # may be a mistake of jaxseg
    ],
)
def test_a_refused_path_takes_two_lines(number, told):
    error = command_error(OSError(number, os.strerror(number), "/disk/a.png"), "train")
    if told is None:
        assert error is None
    else:
        assert error.problem == f"/disk/a.png cannot be accessed: {os.strerror(number)}."
        assert told in error.remedy
