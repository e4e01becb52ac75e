"""Damages a small run many times: `python tests/benchmarks/reliability.py --tries 20`.

Trains a run of seconds, then repeats: flip a bit of its newest checkpoint, cut off or remove one
of its files, or kill the run with SIGKILL; then start the run again. Each try must end as if
nothing had happened, or with a two-line error.
"""

import argparse
import collections
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = (
    f"--config={ROOT}/configs/quickstart.py --config.train.steps=8 --config.train.batch_size=2 "
    "--config.data.scenes_train=8 --config.data.scenes_eval=4 --config.eval.every_steps=None "
    "--config.optim.warmup_steps=0 --config.model.width=0.05 --config.model.fc_channels=32 "
    "--config.checkpoint.every_steps=2 --config.log.pictures=0"
).split()


def command(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "jaxseg", *map(str, words)],
        capture_output=True,
        text=True,
        **options,
    )


def damage(folder, how, rng):
    """Damages a file of the newest checkpoint; returns its name."""
    newest = max((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    files = sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size)
    path = rng.choices(files, [p.stat().st_size for p in files])[0]
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(data[: rng.randrange(len(data))])
    else:
        path.unlink()
    return path.name


def outcome(done, scores, want):
    """Describes the outcome of a restarted training in one word."""
    if "Traceback" in done.stdout + done.stderr:
        return "TRACEBACK"
    if done.returncode == 2:
        return "told, stopped"
    if done.returncode != 0 or scores.read_text() != want:
        return "OTHER RESULT"
    return "told, went back" if "going back" in done.stdout else "the same result"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=20, help="of each kind")
    tries, rng = parser.parse_args().tries, random.Random(0)
    top = pathlib.Path(tempfile.mkdtemp())
    whole, again = top / "whole", top / "again"
    assert command("train", *TINY, "--workdir", whole).returncode == 0
    want = (whole / "scores.json").read_text()
    for how in ("flip", "cut", "remove"):
        counts = collections.Counter()
        for _ in range(tries):
            shutil.rmtree(again, ignore_errors=True)
            shutil.copytree(whole, again)
            (again / "scores.json").unlink()
            damage(again / "checkpoints", how, rng)
            done = command("train", *TINY, "--workdir", again)
            counts[outcome(done, again / "scores.json", want)] += 1
        print(f"{how}: {dict(counts)}", flush=True)
    counts = collections.Counter()
    for _ in range(tries):
        shutil.rmtree(again, ignore_errors=True)
        words = [sys.executable, "-m", "jaxseg", "train", *TINY, "--workdir", str(again)]
        run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, 12))
        run.kill()
        run.wait()
        done = command("train", *TINY, "--workdir", again)
        counts[outcome(done, again / "scores.json", want)] += 1
    print(f"kill: {dict(counts)}")
    shutil.rmtree(top)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
