"""Memory and processor time of this process, and memory of a program."""

import os
import sys

import jax

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_MEMORY = ("temporary", "temp"), ("argument", "argument"), ("output", "output")


def peak_process_memory() -> int | None:
    """The peak memory of this process in bytes; None if the system does not report it."""
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_memory() -> int | None:
    """Bytes available without swapping; None if the system does not report it."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = {name: value for name, _, value in (line.partition(":") for line in lines)}
        return int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def processor_seconds() -> float:
    """Processor time in seconds of this process and of its finished children."""
    if resource is None:
        return sum(os.times()[:4])
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in usage)


def reading_threads(wanted: int | None) -> int:
    """`config.data.threads`; for None, one thread per processor, between 2 and 16."""
    return min(max(usable_processors(), 2), 16) if wanted is None else wanted


def usable_processors() -> int:
    """Number of processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def program_memory(compiled: jax.stages.Compiled) -> dict[str, int]:
    """Bytes that a compiled program needs on one device for temporaries, arguments and results.

    A result that overwrites an argument (a donated state) counts only as an argument.
    """
    found = compiled.memory_analysis()
    if found is None:  # some platforms do not report it
        return {}
    bytes_of = {ours: int(getattr(found, f"{theirs}_size_in_bytes")) for ours, theirs in _MEMORY}
    bytes_of["output"] -= int(found.alias_size_in_bytes)
    return bytes_of
