"""Signals before a run's loop handles them: an exit code, one line, no traceback."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")

# Runs a process that is asked to stop while it is still importing.
PROGRAM = """
import sys, time
from jaxseg.utils.stopping import end_at_once_when_asked
end_at_once_when_asked(["train", "--config", "a.py"])
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def started():
    """Starts a program that prints "ready", and returns its process."""
    runs = []

    def start(program, **options):
        run = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        runs.append(run)
        assert run.stdout.readline() == "ready\n"
        return run

    yield start
    for run in runs:
        run.kill()


STOPPED = "stopped by {}: run again to resume from the last checkpoint\n"


# The main thread runs no Python handler while it is in compiled code; here it waits for a C lock.
BUSY = """
import ctypes, sys
from jaxseg.utils import stopping
stopping.end_at_once_when_asked(["train", "--config", "a.py"])
if len(sys.argv) > 1:
    stopping.loop_begins()
print("ready", flush=True)
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
for _ in range(2):  # no signal interrupts the second
    libc.pthread_mutex_lock(mutex)
"""


@pytest.mark.parametrize("program", [PROGRAM, BUSY])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_before_the_loop(number, program, started):
    run = started(program)
    run.send_signal(getattr(signal, number))
    _, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (75, STOPPED.format(number))


LOOP = """
import signal, sys, time
from jaxseg.utils.stopping import end_at_once_when_asked
end_at_once_when_asked(["train"])
import types
jax = types.SimpleNamespace(process_count=lambda: 1)  # JAX itself takes a second
sys.modules |= {"jax": jax, "jax.experimental": types.SimpleNamespace(multihost_utils=None)}
from jaxseg.training.preemption import StopRequest
with StopRequest() as request:
    if sys.argv[1:] != ["compiling"]:
        request.compiled()
    print("ready", flush=True)
    while not request.received:
        time.sleep(0.01)
    print("saves", flush=True)
    time.sleep(60)
"""


def in_loop(*words):
    return f"import sys\nsys.argv[1:] = {list(words)}\n{LOOP}"


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 75), ("SIGHUP", 75), ("SIGINT", 130)])
def test_in_the_loop_the_second_one_ends_the_process(number, code, started):
    run = started(in_loop())
    run.send_signal(getattr(signal, number))
    assert run.stdout.readline() == "saves\n"
    run.send_signal(getattr(signal, number))
    _, err = run.communicate(timeout=20)
    assert run.returncode == code and "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_while_the_first_step_compiles_the_first_one_does(number, code, started):
    run = started(in_loop("compiling"))
    run.send_signal(getattr(signal, number))
    _, err = run.communicate(timeout=20)
    assert run.returncode == code and "Traceback" not in err


def test_what_is_ignored_stays_ignored(started):
    """For example SIGHUP under nohup."""
    run = started(in_loop(), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    run.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    run.send_signal(signal.SIGTERM)
    assert run.stdout.readline() == "saves\n"


def test_a_signal_while_the_program_is_replaced_waits(started):
    """`train` restarts itself, and has no handlers for a moment."""
    second = "from jaxseg.utils.stopping import end_at_once_when_asked as e; e(['train'])"
    run = started(f"""
import os, sys, time
from jaxseg.utils.stopping import signals_held
with signals_held():
    print("ready", flush=True)
    time.sleep(0.5)
    os.execv(sys.executable, [sys.executable, "-c", {second!r} + "; import time; time.sleep(9)"])
""")
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (75, STOPPED.format("SIGTERM"))


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


PHASES = ("process start", "importing", "compilation", "loop", "save", "evaluation",
          "final writing", "second stage")  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "tries"),
    [pytest.param("save", 1, marks=pytest.mark.slow)]
    + [pytest.param(phase, 10, marks=pytest.mark.nightly) for phase in PHASES],
)
def test_in_each_phase_of_a_run(phase, tries):
    """SIGTERM, SIGHUP and SIGINT in turn; after each, the same command ends bit for bit the same.

    Capital letters in the table stand for what must not happen.
    """
    script = pathlib.Path(__file__).parents[1] / "benchmarks/reliability.py"
    words = [sys.executable, script, "--only", f"signal: {phase}", "--signals", str(tries)]
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
    done = subprocess.run(
        words, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, done.stderr
    assert f"| signal: {phase} | {tries} |" in done.stdout
    assert not re.search("TRACEBACK|CODE|ERROR|OTHER", done.stdout), done.stdout + done.stderr
