"""Signals before a run's loop handles them: an exit code, one line, no traceback."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")

# Runs a process that is asked to stop while it is still importing.
PROGRAM = """
import sys, time
from jaxseg.cli.stopping import end_at_once_when_asked
end_at_once_when_asked(["train", "--config", "a.py"])
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_before_the_loop(number):
    run = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout.readline() == "ready\n"
    run.send_signal(getattr(signal, number))
    _, err = run.communicate(timeout=30)
    assert (run.returncode, err) == (
        75,
        f"stopped by {number}: run again to resume from the last checkpoint\n",
    )


def test_ctrl_c_while_importing():
    """The signal arrives during the first import of the command line."""
    program = (
        "import runpy, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'jaxseg.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "runpy.run_module('jaxseg', run_name='__main__')\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (130, "interrupted\n")


TRIES = {"SIGTERM": 75, "SIGHUP": 75, "SIGINT": 130}


@pytest.mark.nightly
@pytest.mark.parametrize("number", TRIES)
def test_at_ten_moments_of_the_start(number, words, process, tmp_path):
    """Expects the exit code of a run that saved, that had not begun, or that was finished."""
    for moment in range(10):
        run = process(*words(tmp_path / f"run{moment}"))
        time.sleep(0.2 + 1.5 * moment)
        run.send_signal(getattr(signal, number))
        _, err = run.communicate(timeout=300)
        assert run.returncode in (TRIES[number], 75, 0) and "Traceback" not in err, (moment, err)
        run = process(*words(tmp_path / f"run{moment}"))
        assert run.wait(timeout=300) == 0
