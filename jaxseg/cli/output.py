"""Standard output that loses no run: to a closed pipe, or in an encoding without a letter."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Output:
    """A text stream that goes silent where the reader of its pipe has gone.

    Args:
      stream: the stream itself.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As the stream's own, for any text."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._silence()
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """As the stream's own."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._silence()

    def _silence(self) -> None:
        """What is written from here on is dropped, also when Python ends."""
        with contextlib.suppress(OSError, ValueError):  # a stream without a file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Standard output and error are such streams inside the context."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Output(before[0]), Output(before[1])
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # it is closed
            sys.stdout.flush()
        sys.stdout, sys.stderr = before
