"""The lock of a workdir: only one run at a time writes there.

The file `run.lock` names the host, the process and its start time. The run touches it regularly. A
killed run leaves its lock behind. The next run takes the lock over if its process is gone or, on
another host, has not touched it for ten minutes.
"""

import contextlib
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from jaxseg.errors import InputError
from jaxseg.utils.access import reason
from jaxseg.utils.json_files import read_object

LOCK_FILE = "run.lock"
HEARTBEAT = 30.0  # seconds between two touches of the file
STALE = 600.0  # seconds without a touch after which the lock of another host is stale
_HELD: set[str] = set()  # tokens of the locks of this process


class WorkdirLock:
    """The right to write to a workdir, held inside the context.

    Args:
      folder: the workdir, which exists.
      say: receives a line if the lock of a dead run is taken over.

    Raises:
      InputError: on entry, if another run holds the lock, or the workdir cannot be written.
    """

    def __init__(self, folder: pathlib.Path, say: Callable[[str], None] = print):
        self._path, self._say = folder / LOCK_FILE, say
        self._token = uuid.uuid4().hex
        self._ended = threading.Event()

    def __enter__(self) -> "WorkdirLock":
        mine = self._path.with_name(f"{LOCK_FILE}.{self._token}")
        about = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "began": process_start(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "token": self._token,
        }
        try:
            mine.write_text(json.dumps(about), encoding="utf-8")
            while not _placed(mine, self._path):
                self._remove_stale(mine)
        except PermissionError as error:
            raise InputError(
                f"The workdir {self._path.parent} cannot be written: {reason(error)}.",
                "Give a --workdir that you can write to.",
            ) from None
        finally:
            with contextlib.suppress(PermissionError):
                mine.unlink(missing_ok=True)
        _HELD.add(self._token)
        threading.Thread(target=self._touch, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        _HELD.discard(self._token)
        if _read(self._path).get("token") == self._token:
            self._path.unlink(missing_ok=True)

    def _touch(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def _remove_stale(self, mine: pathlib.Path) -> None:
        """Removes the existing lock, or raises InputError if its run may be alive."""
        holder = _read(self._path)
        try:  # both times by the clock of the file system
            os.utime(mine)
            age = mine.stat().st_mtime - self._path.stat().st_mtime
        except OSError:  # the lock was just released
            return
        if is_alive(holder, age):
            raise InputError(
                f"The workdir {self._path.parent} has been in use by {_in_words(holder)} since "
                f"{holder.get('since', 'a moment ago')}.",
                "Give another --workdir, or wait. If that run no longer exists, remove "
                f"{self._path}.",
            )
        breaker = self._path.with_name(f"{LOCK_FILE}.breaking")
        if not _placed(mine, breaker):  # one at a time; otherwise a new lock could be removed
            with contextlib.suppress(OSError):
                if mine.stat().st_mtime - breaker.stat().st_mtime > STALE:
                    breaker.unlink()
            time.sleep(0.01)
            return
        try:
            if _read(self._path).get("token") == holder.get("token"):
                self._path.unlink(missing_ok=True)
                self._say(
                    f"took over the workdir from a run that no longer exists (its lock: {holder})"
                )
        finally:
            breaker.unlink(missing_ok=True)


def running(workdir: pathlib.Path) -> str | None:
    """A description of the live process that writes to a workdir; None if there is none."""
    path = workdir / LOCK_FILE
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return None
    holder = _read(path)
    return _in_words(holder) if is_alive(holder, age) else None


def _in_words(holder: dict[str, Any]) -> str:
    return f"process {holder.get('process', '?')} on {holder.get('host', 'an unknown host')}"


def process_start(pid: int) -> str | None:
    """The start time of a process of this host, in the system's units; None if unknown."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def is_alive(holder: dict[str, Any], age: float) -> bool:
    """Whether the run of a lock that was touched `age` seconds ago may be alive."""
    if holder.get("host") != socket.gethostname() or os.name == "nt":
        return age < STALE  # on Windows, os.kill would terminate the process
    pid = holder.get("process")
    if not isinstance(pid, int):
        return False
    if pid == os.getpid():  # of another thread, or of an earlier process with the same number
        return holder.get("token") in _HELD
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process belongs to another user
        pass
    return process_start(pid) == holder.get("began")


def _placed(source: pathlib.Path, target: pathlib.Path) -> bool:
    """Hard-links `source` to `target`; returns False if `target` exists."""
    try:
        os.link(source, target)
        return True
    except FileExistsError:
        return False
    except OSError:  # the file system has no hard links
        try:
            with target.open("x", encoding="utf-8") as file:
                file.write(source.read_text(encoding="utf-8"))
            return True
        except FileExistsError:
            return False


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}
