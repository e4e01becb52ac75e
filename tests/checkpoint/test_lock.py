"""One run at a time per workdir; the lock of a dead run is taken over."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from jaxseg.checkpoint import lock
from jaxseg.checkpoint.lock import LOCK_FILE, STALE, WorkdirLock, process_start, running
from jaxseg.checkpoint.steps import find_step
from jaxseg.errors import InputError


def holder(folder, age=0.0, **changes):
    """Writes a lock of another process, last touched `age` seconds ago."""
    about = {"host": socket.gethostname(), "process": 1, "began": process_start(1), "token": "x"}
    path = folder / LOCK_FILE
    path.write_text(json.dumps(about | {"since": "2026-01-01 00:00:00"} | changes))
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def sleeper():
    """A process that lives for the whole test."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_of_the_same_process(tmp_path):
    """Two threads of a service, or of a notebook."""
    with WorkdirLock(tmp_path):
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on"):
            WorkdirLock(tmp_path).__enter__()
        assert running(tmp_path)
    with WorkdirLock(tmp_path):
        pass
    holder(tmp_path, process=os.getpid())  # a dead process that had this number
    with WorkdirLock(tmp_path, say=lambda line: None):
        pass


def test_the_lock_exists_only_inside_the_context(tmp_path):
    with WorkdirLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_living_process_of_this_host_keeps_it(tmp_path, sleeper):
    holder(tmp_path, age=10 * STALE, process=sleeper.pid, began=process_start(sleeper.pid))
    with pytest.raises(InputError, match=f"in use by process {sleeper.pid} on") as error:
        WorkdirLock(tmp_path).__enter__()
    assert LOCK_FILE in error.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_messages_differ_for_a_run_without_a_checkpoint_yet_and_a_lost_one(tmp_path, sleeper):
    holder(tmp_path, process=sleeper.pid, began=process_start(sleeper.pid))
    checkpoints = tmp_path / "checkpoints"
    with pytest.raises(InputError, match=f"no checkpoint yet: its run, process {sleeper.pid} on"):
        find_step(checkpoints, "last")
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(InputError, match="contains no checkpoint\\. Train first"):
        find_step(checkpoints, "last")


def test_a_killed_process_loses_the_lock_at_once(tmp_path, sleeper, capsys):
    path = holder(tmp_path, process=sleeper.pid, began=process_start(sleeper.pid))
    sleeper.kill()
    sleeper.wait()
    with WorkdirLock(tmp_path):
        assert json.loads(path.read_text())["process"] == os.getpid()
    assert "took over" in capsys.readouterr().out


@pytest.mark.skipif(process_start(os.getpid()) is None, reason="needs /proc")
def test_a_reused_process_number_is_another_process(tmp_path, sleeper):
    holder(tmp_path, process=sleeper.pid, began="1")
    with WorkdirLock(tmp_path):
        pass


def test_another_host_keeps_it_while_it_is_touched(tmp_path):
    holder(tmp_path, host="elsewhere", age=STALE / 2)
    with pytest.raises(InputError, match="process 1 on elsewhere since 2026"):
        WorkdirLock(tmp_path).__enter__()
    holder(tmp_path, host="elsewhere", age=2 * STALE)
    with WorkdirLock(tmp_path):
        pass


def test_a_damaged_lock_expires_like_that_of_another_host(tmp_path):
    path = tmp_path / LOCK_FILE
    path.write_text("{")
    with pytest.raises(InputError, match="in use by process \\? on an unknown host"):
        WorkdirLock(tmp_path).__enter__()
    os.utime(path, (time.time() - 2 * STALE,) * 2)
    with WorkdirLock(tmp_path):
        pass


def test_the_lock_is_touched_regularly(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.01)
    with WorkdirLock(tmp_path):
        path = tmp_path / LOCK_FILE
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_only_one_of_many_concurrent_runs_gets_the_lock(tmp_path, monkeypatch):
    """Also when all of them find a dead run's lock."""
    monkeypatch.setattr(lock.os, "getpid", lambda: 1)  # else a process accepts its own lock
    monkeypatch.setattr(lock, "is_alive", lambda holder, age: holder.get("token") != "x")
    holder(tmp_path)
    inside, refused, start = [], [], threading.Barrier(16)
    release = threading.Event()

    def ask():
        start.wait()
        try:
            with WorkdirLock(tmp_path, say=lambda _: None):
                inside.append(1)
                release.wait(10)
        except InputError:
            refused.append(1)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(inside) + len(refused) < 16 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (len(inside), len(refused)) == (1, 15)
    release.set()
    for thread in threads:
        thread.join()
