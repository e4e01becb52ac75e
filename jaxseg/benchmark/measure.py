"""Measures time, compilations and memory."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.monitoring

from jaxseg.utils.usage import peak_process_memory

_COMPILED = "/jax/core/compile/backend_compile_duration"


def milliseconds(run: Callable[[], Any], repeats: int) -> list[float]:
    """Times `run` several times, each until all its results are computed."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(run())
        times.append((time.perf_counter() - begun) * 1000)
    return times


def spread(times: list[float]) -> dict[str, float]:
    """The median, the lowest and the highest of several times.

    >>> spread([3.0, 1.0, 8.0])
    {'median': 3.0, 'lowest': 1.0, 'highest': 8.0}
    """
    return {"median": statistics.median(times), "lowest": min(times), "highest": max(times)}


@contextlib.contextmanager
def compilations() -> Iterator[list[float]]:
    """Yields a list to which the duration in seconds of each compilation is appended.

    A program read from the compilation cache counts too, with the time of reading.
    """
    seconds: list[float] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event == _COMPILED:
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def peak_memory() -> dict[str, int]:
    """Peak memory in bytes of this process, and of its first device.

    The entry of the device is missing on the CPU, which shares the process's memory, and if the
    device does not report it. On Windows, the entry of the process is missing.
    """
    of_process = peak_process_memory()
    peak = {} if of_process is None else {"process": of_process}
    statistics_of_device = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics_of_device:
        peak["device"] = int(statistics_of_device["peak_bytes_in_use"])
    return peak
