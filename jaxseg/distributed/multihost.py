"""Several processes that train one network: connection, agreement, and shared failure.

Each process has some of the devices and reads its part of every batch; all run the same program. If
one process stopped alone, the others would wait for it in the next sum over all devices. Therefore
an error in one process ends all of them, with the same message.
"""

import contextlib
import itertools
import json
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxseg.errors import InputError, Stopped

COORDINATOR, COUNT, INDEX = "JAXSEG_COORDINATOR", "JAXSEG_PROCESSES", "JAXSEG_PROCESS"
_MEETING_SECONDS = 300
_TELLING_SECONDS = 10  # how long a failing process waits for the others
_WAITING_SECONDS = 3600  # how long a process waits for busy ones; `_Watch` notices failures
_FAILURE = "jaxseg/failure"
_places = itertools.count()  # all processes reach the same barriers in the same order

_watch: "_Watch | None" = None


@contextlib.contextmanager
def joined(distributed: bool = True) -> Iterator[bool]:
    """Connects this process to the others during the body; call it before any use of a device.

    The environment variables JAXSEG_COORDINATOR (HOST:PORT of the first process), JAXSEG_PROCESSES
    (number of processes) and JAXSEG_PROCESS (index of this process, from 0) define the group.
    Without them, JAX asks SLURM, Open MPI, Kubernetes or the TPU's metadata. If the others do not
    connect within five minutes, this process exits. An exception in the body ends all processes.

    Args:
      distributed: False: does nothing; a single process waits for no other.

    Yields:
      Whether this is the first process, which prints the output.

    Raises:
      InputError: neither the variables nor a cluster define the processes.
    """
    global _watch
    if not distributed:
        yield True
        return
    _meet()
    _watch = _Watch()
    with failing_together():
        try:
            yield jax.process_index() == 0
        except Stopped:
            _part()
            raise
        _part()


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """On an exception in the body, ends all processes connected by `joined`.

    Use it inside any context that waits for other processes on exit, such as the checkpoint
    manager. Does nothing in a single process.
    """
    try:
        yield
    except Stopped:  # all processes stop at the same step
        raise
    except BaseException as error:
        if _watch is not None:
            _watch.fail(error)
        raise


def agree(value: int) -> int:
    """Returns the first process's value: a folder may look different on another machine."""
    return int(multihost_utils.broadcast_one_to_all(np.int64(value)))


def gather_values(value: Any) -> list[Any]:
    """Returns the `value` of every process, in order. It must fit JSON; all processes must call."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int64(data.size)).reshape(-1)
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: data.size] = data
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:n].tobytes()) for row, n in zip(rows, sizes, strict=True)]


def wait_for_others(name: str) -> None:
    """Waits until all processes have reached the barrier `name`.

    The barrier is at the coordination service. A sum over all devices would also synchronise, but
    on the CPU it times out after half a minute, and listing a bucket may take longer.
    """
    if jax.process_count() > 1:
        place = f"jaxseg/{name}/{next(_places)}"
        _store().wait_at_barrier(place, timeout_in_ms=_WAITING_SECONDS * 1000)


def _store():
    """The client of the coordination service, a key-value store that all processes share."""
    from jax._src.distributed import global_state  # there is no public access to it

    return global_state.client


def _meet() -> None:
    """Calls `jax.distributed.initialize`."""
    late = threading.Timer(_MEETING_SECONDS, _end, [_notice(_not_met(), process=None)])
    late.daemon = True
    late.start()  # before JAX's own timeout, which aborts the process and dumps its stack
    given = {name: os.environ[name] for name in (COORDINATOR, COUNT, INDEX) if name in os.environ}
    try:
        if not given:
            jax.distributed.initialize(initialization_timeout=2 * _MEETING_SECONDS)
            return
        count, index = _whole(COUNT, given[COUNT]), _whole(INDEX, given[INDEX])
        if not 0 <= index < count:
            raise ValueError(f"{INDEX} must be from 0 to {count - 1}")
        if ":" not in given[COORDINATOR]:
            raise ValueError(f"{COORDINATOR} must be HOST:PORT")
        jax.distributed.initialize(
            given[COORDINATOR],
            count,
            index,
            cluster_detection_method="deactivate",
            initialization_timeout=2 * _MEETING_SECONDS,
        )
    except (KeyError, ValueError) as error:
        problem = "no coordinator is configured"
        if given:
            problem = ", ".join(f"{k}={v}" for k, v in given.items())
            reason = f"{error.args[0]} is not set" if isinstance(error, KeyError) else str(error)
            problem = f"{problem} ({reason})"
        raise InputError(
            f"--distributed: {problem}.",
            "Start it on SLURM, on a TPU or with launch/local.py, or set "
            f"{COORDINATOR}=HOST:PORT, {COUNT} and {INDEX} (from 0).",
        ) from None
    finally:
        late.cancel()


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} must be a whole number") from None


def _not_met() -> InputError:
    return InputError(
        f"--distributed: the processes did not connect within {_MEETING_SECONDS} s.",
        "Start all processes, with an address of the first one that the others can reach.",
    )


def _part() -> None:
    """Ends the connection of `_meet`, after waiting for processes that are still busy."""
    global _watch
    if _watch is not None:
        _watch.close()
        _watch = None
    jax.distributed.shutdown()


class _Watch:
    """Checks the coordination service once a second for the failure of another process.

    The service runs in the first process, which therefore exits last: without the service, JAX
    aborts the others.
    """

    def __init__(self):
        self._store = _store()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jaxseg-watch", daemon=True)
        self._thread.start()

    def fail(self, error: BaseException) -> None:
        """Reports the error to the other processes, and ends this process."""
        notice = _notice(error, jax.process_index())
        try:
            self._store.key_value_set(_FAILURE, json.dumps(notice))
        except Exception:  # another process failed first and ends this one, or the service is gone
            self._thread.join(2 * _TELLING_SECONDS)
        else:
            self._closed.set()
            self._wait_for_others_to("see")
        if not isinstance(error, InputError | KeyboardInterrupt):
            traceback.print_exception(error)
        self._leave(notice)

    def close(self) -> None:
        """Stops the checks."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(1):
            try:
                notice = json.loads(self._store.key_value_try_get(_FAILURE))
            except Exception:  # no failure is reported
                continue
            if self._closed.is_set():
                return
            self._post("see")
            self._leave(notice, f"process {notice['process']}: ")

    def _leave(self, notice: dict, who: str = "") -> None:
        if jax.process_index() == 0:
            self._wait_for_others_to("leave")
            time.sleep(1)
        else:
            self._post("leave")
        _end(notice, who)

    def _post(self, what: str) -> None:
        with contextlib.suppress(Exception):
            self._store.key_value_set(f"{_FAILURE}/{what}/{jax.process_index()}", "")

    def _wait_for_others_to(self, what: str) -> None:
        until = time.monotonic() + _TELLING_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(Exception):
                posts = self._store.key_value_dir_get(f"{_FAILURE}/{what}/")
                if len(posts) >= jax.process_count() - 1:
                    return
            time.sleep(0.1)


def _notice(error: BaseException, process: int | None) -> dict:
    """A report of an exception for the other processes: two lines and an exit code."""
    if isinstance(error, InputError):
        lines, code = f"{error.problem}\nfix: {error.remedy}", 2
    elif isinstance(error, KeyboardInterrupt):
        lines, code = "interrupted", 130
    else:
        lines, code = f"{type(error).__name__}: {error}", 1
    return {"process": process, "lines": lines, "code": code}


def _end(notice: dict, who: str = "") -> None:
    """Prints the report and exits at once: a normal shutdown would need the other processes."""
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    print(f"error: {who}{notice['lines']}", file=sys.stderr, flush=True)
    os._exit(notice["code"])
