"""Standard streams that are closed when a process starts."""

import os
import sys


def open_closed_streams() -> None:
    """Opens the null device in place of closed standard streams, such as after `>&-`.

    Otherwise the next file that is opened gets the number of the stream, and receives what
    libraries print. Must be called before other files are opened.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, mode, closefd=False))
