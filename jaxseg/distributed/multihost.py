"""Several processes that train one network together: how they meet, agree, and fail as one.

Each process has some of the devices and reads its share of every batch; all run the same program.
A process that stopped alone would leave the others waiting in the next sum over all devices, so
what ends one, ends all, with the same message.
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
_TELLING_SECONDS = 10  # how long one that ends waits for the others
_WAITING_SECONDS = 3600  # how long one waits for others that are busy: `_Watch` sees who fails
_FAILURE = "jaxseg/failure"
_places = itertools.count()  # all processes wait in the same places in the same order

_watch: "_Watch | None" = None


@contextlib.contextmanager
def joined(distributed: bool = True) -> Iterator[bool]:
    """Makes this process one of several while the body runs; no device may have been used before.

    The environment variables JAXSEG_COORDINATOR (HOST:PORT of the first process), JAXSEG_PROCESSES
    (how many) and JAXSEG_PROCESS (which one, from 0) say who belongs together; without them JAX
    asks SLURM, Open MPI, Kubernetes or the TPU's metadata. Where the others do not come within five
    minutes this process ends. An exception in the body ends it and all others.

    Args:
      distributed: False does nothing: a process that is alone never waits for another.

    Yields:
      Whether this is the first process, the one that prints.

    Raises:
      InputError: nothing says who belongs together.
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
    """Where an exception leaves the body, ends all processes that `joined` each other.

    It belongs inside whatever would wait for other processes on its way out, as closing the
    checkpoints does. Does nothing in a process that is alone.
    """
    try:
        yield
    except Stopped:  # all of them, at one step
        raise
    except BaseException as error:
        if _watch is not None:
            _watch.fail(error)
        raise


def agree(value: int) -> int:
    """The first process's value: a folder may look different from another machine."""
    return int(multihost_utils.broadcast_one_to_all(np.int64(value)))


def gather_values(value: Any) -> list[Any]:
    """Every process's `value`, which JSON can hold, in their order; all must call it."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int64(data.size)).reshape(-1)
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: data.size] = data
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:n].tobytes()) for row, n in zip(rows, sizes, strict=True)]


def wait_for_others(name: str) -> None:
    """Returns when all processes have come to the place called `name`.

    They wait for each other at the notice board. A sum over all devices would do where nobody is
    late, but gives up after half a minute on the CPU, and a bucket may take longer to be looked at.
    """
    if jax.process_count() > 1:
        place = f"jaxseg/{name}/{next(_places)}"
        _store().wait_at_barrier(place, timeout_in_ms=_WAITING_SECONDS * 1000)


def _store():
    """The processes' common notice board."""
    from jax._src.distributed import global_state  # there is no public way to it

    return global_state.client


def _meet() -> None:
    """Calls `jax.distributed.initialize`."""
    late = threading.Timer(_MEETING_SECONDS, _end, [_notice(_not_met(), process=None)])
    late.daemon = True
    late.start()  # JAX, when its own time is up, aborts the process and dumps its stack
    given = {name: os.environ[name] for name in (COORDINATOR, COUNT, INDEX) if name in os.environ}
    try:
        if not given:
            jax.distributed.initialize(initialization_timeout=2 * _MEETING_SECONDS)
            return
        count, index = int(given[COUNT]), int(given[INDEX])
        if not 0 <= index < count or ":" not in given[COORDINATOR]:
            raise ValueError("out of range")
        jax.distributed.initialize(
            given[COORDINATOR],
            count,
            index,
            cluster_detection_method="deactivate",
            initialization_timeout=2 * _MEETING_SECONDS,
        )
    except (KeyError, ValueError):
        problem = "--distributed: no coordinator is configured"
        if given:
            problem = "--distributed: " + ", ".join(f"{k}={v}" for k, v in given.items())
        raise InputError(
            f"{problem}.",
            "Start it on SLURM, on a TPU or with launch/local.py, or set "
            f"{COORDINATOR}=HOST:PORT, {COUNT} and {INDEX} (from 0).",
        ) from None
    finally:
        late.cancel()


def _not_met() -> InputError:
    return InputError(
        f"--distributed: the processes did not connect within {_MEETING_SECONDS} s.",
        "Start all processes, with an address of the first one that the others can reach.",
    )


def _part() -> None:
    """Ends what `_meet` began; waits for the others, who may still be busy."""
    global _watch
    if _watch is not None:
        _watch.close()
        _watch = None
    jax.distributed.shutdown()


class _Watch:
    """Learns from the processes' common notice board, once a second, whether one has failed.

    The board is in the first process, which therefore ends last: without it JAX aborts the others.
    """

    def __init__(self):
        self._store = _store()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jaxseg-watch", daemon=True)
        self._thread.start()

    def fail(self, error: BaseException) -> None:
        """Tells the others, and ends this process."""
        notice = _notice(error, jax.process_index())
        try:
            self._store.key_value_set(_FAILURE, json.dumps(notice))
        except Exception:  # another was first, and the watch ends this process; or it is gone
            self._thread.join(2 * _TELLING_SECONDS)
        else:
            self._closed.set()
            self._wait_for_others_to("see")
        if not isinstance(error, InputError | KeyboardInterrupt):
            traceback.print_exception(error)
        self._leave(notice)

    def close(self) -> None:
        """Looks no more."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(1):
            try:
                notice = json.loads(self._store.key_value_try_get(_FAILURE))
            except Exception:  # there is no such notice
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
    """An exception for the others: two lines and an exit code, as on the command line."""
    if isinstance(error, InputError):
        lines, code = f"{error.problem}\nfix: {error.remedy}", 2
    elif isinstance(error, KeyboardInterrupt):
        lines, code = "interrupted", 130
    else:
        lines, code = f"{type(error).__name__}: {error}", 1
    return {"process": process, "lines": lines, "code": code}


def _end(notice: dict, who: str = "") -> None:
    """Prints the notice and ends this process at once: to leave in order would need the others."""
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    print(f"error: {who}{notice['lines']}", file=sys.stderr, flush=True)
    os._exit(notice["code"])
