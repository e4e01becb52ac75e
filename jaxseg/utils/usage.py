"""Memory and processor time that this process has used, and that a program needs."""

import os
import sys

import jax

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_MEMORY = ("temporary", "temp"), ("argument", "argument"), ("output", "output")


def peak_process_memory() -> int | None:
    """The most bytes that this process has held at a time; None where the system does not tell."""
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_memory() -> int | None:
    """Bytes that a program can have without swapping; None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = {name: value for name, _, value in (line.partition(":") for line in lines)}
        return int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def processor_seconds() -> float:
    """Time that the processors have worked for this process and its children that have ended."""
    if resource is None:
        return sum(os.times()[:4])
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in usage)


def reading_threads(wanted: int | None) -> int:
    """`config.data.threads`, or where that is None one for each processor, from 2 to 16."""
    return min(max(usable_processors(), 2), 16) if wanted is None else wanted


def usable_processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def program_memory(compiled: jax.stages.Compiled) -> dict[str, int]:
    """Bytes of a compiled program on one device: of its temporaries, arguments and results.

    What it writes its results over (a donated state) counts as an argument alone.
    """
    found = compiled.memory_analysis()
    if found is None:  # not every platform has it
        return {}
    bytes_of = {ours: int(getattr(found, f"{theirs}_size_in_bytes")) for ours, theirs in _MEMORY}
    bytes_of["output"] -= int(found.alias_size_in_bytes)
    return bytes_of
