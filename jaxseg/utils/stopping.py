"""Handles signals that end a process, from its start on, even while compiled code runs.

Python runs a signal handler only between two instructions of the main thread, so a handler waits
for the end of a compilation. Here a thread receives each signal immediately. This module imports
only the standard library, so that the handlers are installed before slow imports.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_TRY_AGAIN, _INTERRUPTED = 75, 130  # EX_TEMPFAIL of sysexits.h: the same command resumes the run
_STOPS = tuple(getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n))
_ALL = (*_STOPS, signal.SIGINT)

_watching = False
_state = "outside"  # outside a run's loop; or one of the following
_COMPILING = "compiling"  # before the first step, there is nothing to save
_LISTENING = "listening"  # the loop handles the next signal itself
_STOPPING = "stopping"  # the loop has received a signal, and saves


def end_at_once_when_asked(argv: Sequence[str]) -> None:
    """Makes SIGTERM and SIGHUP end a training with code 75, before its loop or at a second signal.

    In the loop, `jaxseg.training.preemption` handles the first signal, and saves. All writes are
    atomic, so the last save is intact. With several processes, JAX stops all of them together.
    Ctrl-C ends any command with code 130; during an import, where a library might catch
    KeyboardInterrupt or print it, it ends the process at once.

    Args:
      argv: the command line, beginning with the command.
    """
    global _watching
    if threading.current_thread() is not threading.main_thread() or os.name == "nt":
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    if argv and argv[0] == "train" and "--distributed" not in argv:
        for number in _STOPS:
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
                signal.signal(number, _heard)
        if not _watching:
            _watch()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ALL)


@contextmanager
def signals_held() -> Iterator[None]:
    """Delays signals until the end, or until `end_at_once_when_asked` in a program started here."""
    if os.name == "nt":
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ALL)


def loop_begins() -> None:
    """Called when the loop begins: a signal then ends the process, also during compilation."""
    _change(_COMPILING)


def next_is_handled() -> None:
    """Called after the compilation: the loop then handles the next signal; the second ends it."""
    _change(_LISTENING)


def loop_ends() -> None:
    """Called when the loop ends: signals then act as before the loop."""
    _change("outside")


def _change(state: str) -> None:
    global _state
    _state = state


def _watch() -> None:
    global _watching
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)
    threading.Thread(target=_act, args=(reader,), daemon=True, name="signals").start()
    _watching = True


def _forget() -> None:
    """Removes the handlers in a forked child process."""
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        for number in _STOPS:
            if signal.getsignal(number) is _heard:
                signal.signal(number, signal.SIG_DFL)


def _act(reader: int) -> None:
    """The body of the thread that handles signals."""
    while True:
        number = os.read(reader, 1)[0]
        if number not in _ALL:
            continue
        if _state == _LISTENING:
            _change(_STOPPING)
        elif number != signal.SIGINT:
            name = signal.Signals(number).name
            _end(f"stopped by {name}: run again to resume from the last checkpoint", _TRY_AGAIN)
        elif _state in (_COMPILING, _STOPPING):  # elsewhere the main thread cleans up
            _end("interrupted", _INTERRUPTED)


def _heard(number: int, frame: object) -> None:
    """Does nothing, because the thread acts; without a handler, a signal ends the process."""


def _interrupted(number: int, frame) -> None:
    if _state != "outside":  # the second signal of a loop; the thread may be later than this
        _end("interrupted", _INTERRUPTED)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            _end("interrupted", _INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _end(words: str, code: int) -> None:
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
    try:
        os.write(2, f"{words}\n".encode())
    except OSError:  # the terminal is gone
        pass
    os._exit(code)
