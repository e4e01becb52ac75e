"""Signal handlers for the start of a process, before a run installs its own."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence

_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the same command resumes the run


def end_at_once_when_asked(argv: Sequence[str]) -> None:
    """Makes SIGTERM and SIGHUP end a training with code 75, before its loop or at a second signal.

    In the loop, `jaxseg.training.preemption` handles the first signal, and saves. All writes are
    atomic, so the last save is intact. With several processes, JAX stops all of them together.

    Args:
      argv: the command line, beginning with the command.
    """
    if not argv or argv[0] != "train" or "--distributed" in argv:
        return
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end)


def _end(number: int, _) -> None:
    for child in multiprocessing.active_children():
        child.kill()
    name = signal.Signals(number).name
    try:
        os.write(2, f"stopped by {name}: run again to resume from the last checkpoint\n".encode())
    except OSError:  # the terminal is gone
        pass
    os._exit(_TRY_AGAIN)
