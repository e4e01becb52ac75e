"""Signals that stop a run: it finishes the step and saves, so that it can be resumed."""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class StopRequest:
    """Whether SIGTERM, SIGHUP or SIGINT has asked this run to stop; use it as a context manager.

    Outside the context, and from the second signal on, the previous handlers apply: SIGINT raises
    KeyboardInterrupt, SIGTERM ends the process. With several processes, a SIGTERM to one of them
    stops all at the same step; JAX forwards it. An evaluation in progress is finished first.
    Signals reach only the main thread: `train` in another thread is not stopped by them.

    >>> with StopRequest() as request:
    ...     before = request.made(step=1)
    ...     signal.raise_signal(signal.SIGTERM)
    ...     before, request.made(step=2)
    (False, True)
    """

    def __init__(self):
        self._received = False
        self._before: dict = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            # with several processes, JAX handles SIGTERM
            for number in _SIGNALS if jax.process_count() == 1 else _SIGNALS[1:]:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def made(self, step: int) -> bool:
        """Whether to stop; all processes call it after every step."""
        if jax.process_count() == 1:
            return self._received
        return multihost_utils.reached_preemption_sync_point(step)

    def _receive(self, number: int, _) -> None:
        self._received = True
        self._restore()
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
