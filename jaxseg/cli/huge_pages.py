"""Huge pages for the buffers of the CPU, which only a process's start can ask for."""

import os
import sys
from collections.abc import Sequence

_TUNABLE = "glibc.malloc.hugetlb"
_COMMANDS = ("train", "benchmark")  # those that pay back the second that it takes


def restart_with_huge_pages(argv: Sequence[str]) -> None:
    """Starts this process again so that its buffers lie in huge pages, where it trains on Linux.

    A step on the CPU takes its buffers anew and touches each of their pages for the first time:
    50,000 times 4 KB for a small DeconvNet. In pages of 2 MB such a step is 10 to 15 % shorter.
    glibc reads the setting, GLIBC_TUNABLES, when a process starts; one that the environment has
    already is left as it is.

    Args:
      argv: the command line, the command first.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or not argv or argv[0] not in _COMMANDS or _TUNABLE in tunables:
        return
    if {"-h", "--help"} & set(argv):
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [tunables, f"{_TUNABLE}=1"]))
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError:  # it runs as well without
        pass
