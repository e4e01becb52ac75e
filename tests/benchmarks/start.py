"""Time from the command to a run's first step, with an empty and with a filled compile cache.

    python tests/benchmarks/start.py [--config configs/quickstart.py] [--config.FIELD=VALUE ...]

The first step ends when its line appears in `metrics.jsonl`; the run is stopped then.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/quickstart.py")
    args, fields = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for number, what in enumerate(("empty cache", "second run", "third run")):
            clock, processor = first_step(
                args.config, fields, root / f"run{number}", root / "cache"
            )
            print(
                f"{what:<12} {clock:6.1f} s to the first step, {processor:6.1f} s of processors",
                flush=True,
            )
        files = [file for file in (root / "cache").rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files) / 1e6
        print(f"{len(files)} compiled programs, {size:.1f} MB")


def first_step(
    config: str, fields: list[str], workdir: pathlib.Path, cache: pathlib.Path
) -> tuple[float, float]:
    """Seconds of wall time, and of processor time over all processors."""
    command = [sys.executable, "-m", "jaxseg", "train", "--config", config]
    command += ["--workdir", str(workdir), "--config.log.every_steps=1", *fields]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
    begun = time.perf_counter()
    with subprocess.Popen(
        command, env=environment | {"XDG_CACHE_HOME": str(cache)}, stdout=subprocess.DEVNULL
    ) as run:
        log = workdir / "metrics.jsonl"
        while run.poll() is None and not (log.is_file() and log.stat().st_size):
            time.sleep(0.05)
        seconds = time.perf_counter() - begun
        stat = pathlib.Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
        processor = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        if run.poll() not in (None, 0):
            sys.exit("The run failed.")
        run.terminate()
    return seconds, processor


if __name__ == "__main__":
    main()
