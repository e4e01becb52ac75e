"""Times equivalent programs in turns, so that outside disturbances affect all of them."""

import os
import statistics
import time
from collections.abc import Callable


def one_processor() -> None:
    """Keeps this process on one processor and one thread; call it before jax is imported.

    On a machine that runs other programs, the processor time of one thread is the repeatable
    figure: threads that wait for each other use processor time too.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"


def in_turns(programs: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each program: medians of `rounds` rounds in which each takes its turn.

    In its turn a program runs twice, and the second time counts. The first run pays for memory that
    the previous program gave back, which costs the system a second where that was gigabytes.

    Returns:
      For each name "clock", "processor" (over all threads), and "lowest", the least wall time.
    """
    for run in programs.values():
        run()  # compiles, and touches the memory
    clock: dict[str, list[float]] = {name: [] for name in programs}
    processor: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            run()
            begun, worked = time.perf_counter(), time.process_time()
            run()
            clock[name].append((time.perf_counter() - begun) * 1000)
            processor[name].append((time.process_time() - worked) * 1000)
    return {
        name: {
            "clock": statistics.median(clock[name]),
            "processor": statistics.median(processor[name]),
            "lowest": min(clock[name]),
        }
        for name in programs
    }


def print_ratios(title: str, times: dict[str, dict[str, float]], base: str) -> None:
    """Prints a line for each program: its times as multiples of those of `base`."""
    print(f"\n{title}")
    print(f"  {'':<34}{'ms':>9}{'lowest':>9}{'processor':>11}   of {base}'s")
    for name, t in times.items():
        by_clock = t["clock"] / times[base]["clock"]
        by_processor = t["processor"] / times[base]["processor"]
        print(
            f"  {name:<34}{t['clock']:9.1f}{t['lowest']:9.1f}{t['processor']:11.1f}"
            f"   {by_clock:.2f} (processor {by_processor:.2f})",
            flush=True,
        )
