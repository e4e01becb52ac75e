"""Huge pages for CPU buffers, which must be requested when a process starts."""

import os
import sys
from collections.abc import Sequence

from jaxseg.utils.stopping import signals_held

_TUNABLE = "glibc.malloc.hugetlb"
_COMMANDS = ("train", "benchmark")  # the restart costs a second, which longer commands regain


def restart_with_huge_pages(argv: Sequence[str]) -> None:
    """Restarts this process with huge pages for its buffers, if it trains on Linux.

    A step on the CPU allocates its buffers anew, and touches each of their pages for the first
    time: 50,000 times 4 KB for a small DeconvNet. With pages of 2 MB, such a step takes 10 to 15 %
    less time. glibc reads the setting, GLIBC_TUNABLES, when a process starts. An existing value in
    the environment is kept.

    Args:
      argv: the command line, beginning with the command.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or not argv or argv[0] not in _COMMANDS or _TUNABLE in tunables:
        return
    if {"-h", "--help"} & set(argv):
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, f"{_TUNABLE}=1"]))
    try:
        with signals_held():  # the new program handles signals that arrive in between
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError:  # it also runs without
        pass
