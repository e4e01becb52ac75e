"""Clocks, compilations and memory."""

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
    """How long `run` takes, each time until all that it returns is computed."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(run())
        times.append((time.perf_counter() - begun) * 1000)
    return times


def spread(times: list[float]) -> dict[str, float]:
    """The middle of several times, and the two ends.

    >>> spread([3.0, 1.0, 8.0])
    {'median': 3.0, 'lowest': 1.0, 'highest': 8.0}
    """
    return {"median": statistics.median(times), "lowest": min(times), "highest": max(times)}


@contextlib.contextmanager
def compilations() -> Iterator[list[float]]:
    """Inside of it, the seconds that each compilation took are appended to the list it gives.

    One that is read from the cache of compiled programs counts, with the time of reading.
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
    """The most bytes that this process has had at a time: on the host, and on its first device.

    On the CPU, where they are the same memory, and where a device does not tell, only the former.
    Windows tells of no process.
    """
    of_process = peak_process_memory()
    peak = {} if of_process is None else {"process": of_process}
    statistics_of_device = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics_of_device:
        peak["device"] = int(statistics_of_device["peak_bytes_in_use"])
    return peak
