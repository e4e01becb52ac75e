"""Starts several processes of one run on this machine, to imitate a cluster or use one per GPU.

This example needs no GPU and no data:

    python launch/local.py --processes 2 --devices 4 -- \\
      train --config configs/quickstart.py --workdir runs/two

The arguments after `--` are those of `python -m jaxseg`, to which `--distributed` is added; or your
own script with its arguments, which calls `jaxseg.distributed.multihost.joined`. With
`--devices N`, each process has N devices on the CPU; otherwise process i has GPU i. `--dry-run`
prints the commands and starts nothing.

SIGTERM and Ctrl-C are passed on; the processes save and stop. If one fails, the others end too. The
exit code is that of the first that failed.
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

_PATIENCE = 30  # seconds until the others are killed after one process has failed


def main(argv: Sequence[str] | None = None) -> int:
    """Starts the processes, waits for them, and returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, required=True, help="number of processes")
    parser.add_argument(
        "--devices", type=int, help="CPU devices per process (default: one GPU each)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    parser.add_argument(
        "words", nargs="+", help="command of `python -m jaxseg`, or a script; after --"
    )
    args = parser.parse_args(argv)
    if args.processes < 1 or (args.devices is not None and args.devices < 1):
        parser.error("--processes and --devices take 1 or more")

    if args.words[0].endswith(".py"):
        command = [sys.executable, *args.words]
    else:
        command = [sys.executable, "-m", "jaxseg", *args.words, "--distributed"]
    address = f"127.0.0.1:{_free_port()}"
    settings = [
        {
            "JAXSEG_COORDINATOR": address,
            "JAXSEG_PROCESSES": str(args.processes),
            "JAXSEG_PROCESS": str(index),
            **_devices(index, args.devices),
        }
        for index in range(args.processes)
    ]
    if args.dry_run:
        for setting in settings:
            print(shlex.join(["env", *(f"{k}={v}" for k, v in setting.items()), *command]))
        return 0
    return _wait([subprocess.Popen(command, env=os.environ | setting) for setting in settings])


def _devices(index: int, cpu_devices: int | None) -> dict[str, str]:
    """The environment variables that give process `index` its devices."""
    if cpu_devices is None:
        return {"CUDA_VISIBLE_DEVICES": str(index)}
    kept = [
        word
        for word in os.environ.get("XLA_FLAGS", "").split()
        if "xla_force_host_platform_device_count" not in word
    ]
    flags = [*kept, f"--xla_force_host_platform_device_count={cpu_devices}"]
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join(flags)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(running: list[subprocess.Popen]) -> int:
    """Waits for all processes; returns 0, or the exit code of the first that failed."""

    def pass_on(number, _):
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    code, until = 0, float("inf")
    while None in (codes := [process.poll() for process in running]):
        failed = [c for c in codes if c]
        if failed and not code:
            code, until = failed[0], time.monotonic() + _PATIENCE
        if time.monotonic() > until:
            for process in running:
                if process.poll() is None:
                    process.kill()
        time.sleep(0.1)
    code = code or next((p.returncode for p in running if p.returncode), 0)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main())
