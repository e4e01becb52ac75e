"""Signals that stop a run: it finishes the step and saves, so that it can be resumed."""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils

from jaxseg.utils import stopping

_SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class StopRequest:
    """Whether SIGTERM, SIGHUP or SIGINT has asked this run to stop; use it as a context manager.

    Outside the context, and from the second signal on, the previous handlers apply: SIGINT raises
    KeyboardInterrupt, SIGTERM ends the process. A signal that the process ignores, such as SIGHUP
    under nohup, stays ignored. With several processes, a SIGTERM to one of them stops all at the
    same step; JAX forwards it. An evaluation in progress is finished first. Signals reach only the
    main thread: `train` in another thread is not stopped by them.

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
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
            stopping.loop_begins()
        return self

    def __exit__(self, *_) -> None:
        stopping.loop_ends()
        self._restore()

    @property
    def received(self) -> bool:
        """Whether this process has received a signal."""
        return self._received

    def compiled(self) -> None:
        """Called after the first compilation: in a command, the first signal now stops the run.

        Before, a signal ends the process: there is nothing to save yet, and a compilation may take
        longer than a grace period.
        """
        stopping.next_is_handled()

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
