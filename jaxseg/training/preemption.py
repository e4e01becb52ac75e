"""Signals that ask a run to stop: it takes the step to its end, saves, and goes on another time."""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class StopRequest:
    """Whether SIGTERM, SIGHUP or SIGINT has asked this run to stop; use it as a context.

    Outside of it, and from the second signal on, signals do what they did before: SIGINT raises
    KeyboardInterrupt, SIGTERM ends the process. Of several processes a SIGTERM to any of them stops
    all, at one step; JAX passes it on. An evaluation that has begun is finished first. Signals
    reach only a program's main thread: `train` in another thread is not stopped by them.

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
            # JAX handles SIGTERM where there are several processes
            for number in _SIGNALS if jax.process_count() == 1 else _SIGNALS[1:]:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def made(self, step: int) -> bool:
        """To be asked after every step, by all processes."""
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
