"""Broken output does not end a run; a missing platform is an input error."""

import errno
import io
import os
import subprocess
import sys

import pytest

from jaxseg import cli
from jaxseg.cli.output import Output

JAXSEG = [sys.executable, "-m", "jaxseg"]


def test_a_letter_that_the_encoding_lacks():
    raw = io.BytesIO()
    out = Output(io.TextIOWrapper(raw, encoding="cp1252"))
    print("道路 and arbre à feuilles", file=out, flush=True)
    assert raw.getvalue() == b"\\u9053\\u8def and arbre \xe0 feuilles\n"


def test_a_closed_pipe_silences_and_raises_nothing():
    read, write = os.pipe()
    os.close(read)
    out = Output(os.fdopen(write, "w"))
    for _ in range(3):
        print("x" * 100_000, file=out, flush=True)
    out.close()


def test_a_terminal_that_is_gone_silences_and_a_full_disk_is_told():
    class Broken(io.StringIO):
        def __init__(self, number):
            super().__init__()
            self._number = number

        def write(self, text):
            raise OSError(self._number, os.strerror(self._number))

    for number in (errno.EIO, errno.EBADF):
        print("x", file=Output(Broken(number)), flush=True)
    with pytest.raises(OSError, match="standard output"):
        print("x", file=Output(Broken(errno.ENOSPC)))


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_closed_streams_are_no_error(tmp_path):
    """Nor does a file take their numbers, in which libraries would print."""
    program = "import jaxseg.__main__ as m; f = open('a', 'w'); assert f.fileno() > 2"
    words = f"{sys.executable} -c \"{program}; m.run(['--version'])\" <&- >&- 2>&-"
    assert subprocess.run(words, shell=True, cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_a_program_whose_reader_has_gone_ends_in_order(words, tmp_path):
    """The programs: help, and a training that continues to its scores."""
    steps = {"train.steps": 2, "eval.every_steps": None, "checkpoint.every_steps": None}
    for command in (["--help"], words(tmp_path / "run", steps)):
        run = subprocess.Popen(
            [*JAXSEG, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        run.stdout.close()
        with run.stderr:
            err = run.stderr.read()
        assert "Traceback" not in err and "BrokenPipe" not in err
        assert run.wait(timeout=300) == 0
    assert (tmp_path / "run" / "scores.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("platform", "extra"), [("cuda", "cuda"), ("tpu", "tpu")])
def test_a_platform_that_is_not_there(platform, extra, tiny_file, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "jaxseg",
            "train",
            "--config",
            tiny_file,
            "--workdir",
            tmp_path / "w",
        ],
        env=os.environ | {"JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        pytest.skip(f"there is a {platform} here")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"jaxseg[{extra}]" in done.stderr


def test_other_errors_are_raised(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "broken", ("no.such.module", ""))
    with pytest.raises(ModuleNotFoundError):
        cli.run(["broken"])
