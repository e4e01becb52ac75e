"""Standard output that survives a closed pipe, and characters missing in its encoding."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# The reader of a pipe, the terminal or the stream itself is gone.
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ESHUTDOWN)


class Output:
    """A text stream that becomes silent when the reader of its pipe is gone.

    Args:
      stream: the wrapped stream.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Like the stream's own method, but accepts any text."""
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._silence_or_raise(error)
        return len(text)

    def flush(self) -> None:
        """Like the stream's own method."""
        try:
            self._stream.flush()
        except OSError as error:
            self._silence_or_raise(error)

    def _silence_or_raise(self, error: OSError) -> None:
        """Drops all further output if nobody can read it; a full disk is still an error."""
        if error.errno not in _GONE:
            self._silence()  # or Python would repeat the error when it exits
            raise OSError(error.errno, error.strerror, "standard output") from None
        self._silence()

    def _silence(self) -> None:
        """Drops all further output, also when Python exits."""
        with contextlib.suppress(OSError, ValueError):  # the stream has no file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Makes standard output and error such streams inside the context."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Output(before[0]), Output(before[1])
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the stream is closed
            sys.stdout.flush()
        sys.stdout, sys.stderr = before
