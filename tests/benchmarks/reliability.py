"""Damages a small run many times: `python tests/benchmarks/reliability.py --tries 20`.

Trains a run of seconds, then repeats: damage its newest checkpoint, kill the run, or send it a
signal in one of its phases; then start the run again. Each try must end with the same parameters,
bit for bit, or with a two-line error. Damaged images and hostile archives must be refused by name.
"""

import argparse
import collections
import contextlib
import io
import json
import multiprocessing
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = 8
FIELDS = (
    f"--config.train.steps={STEPS} --config.train.batch_size=2 --config.data.scenes_train=8 "
    "--config.data.scenes_eval=4 --config.eval.every_steps=None --config.optim.warmup_steps=0 "
    "--config.model.width=0.05 --config.model.fc_channels=32 --config.checkpoint.every_steps=2 "
    "--config.log.every_steps=1 --config.log.pictures=1"
).split()


class Started(NamedTuple):
    """A process: how to wait for it, and its exit code; None while it runs."""

    pid: int
    wait: Callable[[], object]
    code: Callable[[], int | None]


def _as_command(words: list[str], log: pathlib.Path) -> None:
    """In a forked process: what `python -m jaxseg` does."""
    number = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(number, 1)
    os.dup2(number, 2)
    sys.stdout, sys.stderr = open(1, "w", 1, closefd=False), open(2, "w", 1, closefd=False)
    from jaxseg.cli import run
    from jaxseg.utils.stopping import end_at_once_when_asked

    end_at_once_when_asked(words)
    sys.exit(run(words))


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["jaxseg.training.loop", "jaxseg.training.stages", "grain"])


class Run:
    """The command that trains the small run, or two stages of it.

    Args:
      folder: a new folder.
      staged: whether it is two stages.
    """

    def __init__(self, folder: pathlib.Path, staged: bool = False):
        config = f"{ROOT}/configs/quickstart.py"
        if staged:
            path = folder.parent / "staged.py"
            path.write_text(
                "import importlib.util\n"
                f"spec = importlib.util.spec_from_file_location('quickstart', {config!r})\n"
                "quickstart = importlib.util.module_from_spec(spec)\n"
                "spec.loader.exec_module(quickstart)\n"
                "def get_config():\n"
                "    return [(name, quickstart.get_config()) for name in ('first', 'second')]\n"
            )
            config = str(path)
        self.folder, self.log = folder, folder.parent / "output.txt"
        self._staged = staged
        self._words = ["train", "--config", config, *FIELDS, "--workdir", str(folder)]

    @property
    def workdirs(self) -> list[pathlib.Path]:
        """The workdir of the run, or those of its stages."""
        names = ("1_first", "2_second")
        return [self.folder / name for name in names] if self._staged else [self.folder]

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, imported: bool = False) -> "Started":
        """Starts a process that writes its output to `log`.

        Args:
          imported: whether it has the libraries already, from a process that forks.
        """
        self.log.unlink(missing_ok=True)
        if imported:
            process = _forks.Process(target=_as_command, args=(self._words, self.log))
            process.start()
            return Started(process.pid, process.join, lambda: process.exitcode)
        words = [sys.executable, "-m", "jaxseg", *self._words]
        with self.log.open("w") as log:
            run = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return Started(run.pid, run.wait, run.poll)

    def here(self) -> tuple[int, str]:
        """Runs in this process, without the cost of imports; returns exit code and output."""
        from jaxseg.cli import run

        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = run(self._words)
            except Exception:  # the exit code of a process
                return 1, out.getvalue() + traceback.format_exc()
        return code, out.getvalue()

    def result(self) -> list:
        """The metrics, and the checksum of each array of the last checkpoint."""
        found = []
        for workdir in self.workdirs:
            about = workdir / f"checkpoints/{STEPS}/checksums/metadata"
            found += [
                (workdir / "scores.json").read_text(),
                json.loads(about.read_text())["arrays"],
            ]
        return found


def resumed(run: Run, want: list) -> str:
    """Starts a run again; describes how it ended."""
    code, text = run.here()
    if "Traceback" in text:
        print(text, file=sys.stderr)
        return "TRACEBACK"
    if code == 2:
        lines = text[text.index("error: ") :].strip().splitlines()
        return "two-line error" if len(lines) == 2 else f"ERROR OF {len(lines)} LINES"
    if code or run.result() != want:
        return "OTHER RESULT"
    return "reported, resumed earlier" if "earlier" in text else "same result"


# ---- damage


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def mutate(data: bytearray, rng: random.Random) -> None:
    """Overwrites, removes, inserts or cuts bytes."""
    at, how = rng.randrange(len(data)), rng.randrange(4)
    some = rng.randbytes(rng.randrange(1, 9))
    if how == 0:
        data[at : at + len(some)] = some
    elif how == 1:
        del data[at : at + len(some)]
    elif how == 2:
        data[at:at] = some
    else:
        cut(data, rng)


def damage(folder: pathlib.Path, kind: str, rng: random.Random) -> None:
    """Damages a file of the newest checkpoint."""
    newest = max((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    files = sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size)
    sizes = [p.stat().st_size for p in files]
    if kind == "mutated metadata":  # all files except those of array values
        files = [p for p in files if p.parent.name != "d"]
        sizes = [1] * len(files)
    elif kind == "missing file":
        sizes = [1] * len(files)
    path = rng.choices(files, sizes)[0]
    if kind == "missing file":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    {"flipped bit": flip, "truncated file": cut, "mutated metadata": mutate}[kind](data, rng)
    path.write_bytes(data)


# ---- signals


def _has(path: pathlib.Path, text: str) -> bool:
    return path.is_file() and text in path.read_text(errors="replace")


PHASES = {  # the start of a phase, and the seconds after it within which a signal is sent
    "process start": (lambda run: True, 0.3),
    "importing": (lambda run: True, 2.0),
    "compilation": (lambda run: _has(run.log, "compiling ("), 1.0),
    "loop": (lambda run: _has(run.workdirs[0] / "metrics.jsonl", '"step": 2,'), 0.05),
    "save": (lambda run: any(run.folder.glob("checkpoints/*tmp*")), 0.05),
    "evaluation": (lambda run: _has(run.workdirs[0] / "metrics.jsonl", f'"step": {STEPS},'), 0.2),
    "final writing": (lambda run: (run.workdirs[0] / "scores.json").is_file(), 0.1),
    "second stage": (lambda run: (run.workdirs[0] / "scores.json").is_file(), 3.0),
}
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def signalled(run: Run, phase: str, number: int, want: list, rng: random.Random) -> str:
    """Sends a signal in a phase of a run, and starts it again; describes how that ended."""
    run.clear()
    begins, seconds = PHASES[phase]
    process = run.start(imported=phase not in ("process start", "importing"))
    while not begins(run) and process.code() is None:
        time.sleep(0.001)
    time.sleep(rng.uniform(0.3 if phase == "importing" else 0, seconds))
    if process.code() is not None:
        return "finished before the signal"
    os.kill(process.pid, number)
    process.wait()
    code = process.code()
    if _has(run.log, "Traceback"):
        return "TRACEBACK"
    again = resumed(run, want)
    if again != "same result":
        return again
    if code == -number and phase == "process start":
        return "ended before Python ran jaxseg, same result"
    if code == 0:  # the last line was printed already
        return "complete, code 0"
    allowed = (75, 130) if number == signal.SIGINT else (75,)
    return f"code {code}, same result" if code in allowed else f"CODE {code}"


# ---- images and archives


def image(folder: pathlib.Path, rng: random.Random, bomb: bool) -> str:
    """Reads a damaged image, or one of 90 to 400 million pixels."""
    import numpy as np
    from PIL import Image

    from jaxseg.data import read_image, read_mask
    from jaxseg.errors import InputError

    kind = rng.choice(["png", "jpg", "tif", "gif", "bmp"] if not bomb else ["png", "tif", "gif"])
    path = folder / f"image.{kind}"
    if bomb:
        size = rng.randrange(9500, 20_000)
        Image.new("1" if kind == "tif" else "L", (size, size)).save(
            path, compression="tiff_deflate" if kind == "tif" else None
        )
    else:
        pixels = np.random.default_rng(rng.randrange(99)).integers(0, 9, (40, 40), np.uint8)
        Image.fromarray(pixels).save(path)
        data = bytearray(path.read_bytes())
        for _ in range(rng.randrange(1, 4)):
            mutate(data, rng) if data else None
        path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = "refused"
    for read in (read_image, lambda p: read_mask(p, 256)):
        try:
            read(path)
            outcome = "read"
        except InputError as error:
            if "\n" in str(error):
                return "ERROR OF SEVERAL LINES"
        except Exception as error:
            return f"{type(error).__name__}".upper()
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 500_000:
        return "MORE THAN 500 MB"
    return outcome


def archive(folder: pathlib.Path, rng: random.Random) -> str:
    """Unpacks a zip or tar file that is damaged, or whose paths lead outside."""
    import tarfile
    import zipfile

    from jaxseg.data.archives import unpack
    from jaxseg.errors import InputError

    names = ["a", "b/c", rng.choice(["d", "../out", "/out", "b/../../out", "C:\\out", "..\\out"])]
    buffer = io.BytesIO()
    if rng.random() < 0.5:
        with zipfile.ZipFile(buffer, "w", rng.choice([0, 8, 12, 14])) as z:
            for name in names:
                z.writestr(name, rng.randbytes(3000))
    else:
        with tarfile.open(fileobj=buffer, mode=rng.choice(["w", "w:gz", "w:bz2", "w:xz"])) as t:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = 3000
                if rng.random() < 0.2:
                    member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
                t.addfile(member, io.BytesIO(rng.randbytes(member.size)))
    data = bytearray(buffer.getvalue())
    if rng.random() < 0.7:
        mutate(data, rng)
    place = pathlib.Path(tempfile.mkdtemp(dir=folder))
    (place / "archive").write_bytes(data)
    try:
        unpack(place / "archive", place / "in")
        outcome = "unpacked"
    except InputError:
        outcome = "refused"
    except Exception as error:
        return f"{type(error).__name__}".upper()
    left = {p.name for p in place.iterdir()} - {"archive", "in"}
    if left or (folder / "out").exists() or (outcome == "refused" and (place / "in").exists()):
        return "SOMETHING IS LEFT OUTSIDE"
    if any(p.is_symlink() for p in place.rglob("*")):
        return "A LINK LEADS OUTSIDE"
    return outcome


# ---- all kinds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=20, help="of each kind of damage, and kills")
    parser.add_argument("--signals", type=int, default=10, help="tries in each phase")
    parser.add_argument("--files", type=int, default=600, help="damaged images and archives")
    parser.add_argument("--seconds", type=float, default=10.0, help="in which a run is killed")
    parser.add_argument("--only", default="", help="kinds whose names contain this")
    args, rng = parser.parse_args(), random.Random(0)
    top = pathlib.Path(tempfile.mkdtemp())

    def count(kind: str, tries: int, one) -> None:
        if args.only not in kind:
            return
        began, counts = time.monotonic(), collections.Counter()
        for number in range(tries):
            counts[one(number)] += 1
        found = ", ".join(f"{n} {what}" for what, n in counts.most_common())
        print(f"| {kind} | {tries} | {found} |  {time.monotonic() - began:.0f} s", flush=True)

    count("mutated image", args.files, lambda n: image(top, rng, bomb=False))
    count("image of too many pixels", 20, lambda n: image(top, rng, bomb=True))
    count("damaged or hostile archive", args.files, lambda n: archive(top, rng))

    whole, run = Run(top / "whole"), Run(top / "again")
    code, text = whole.here()
    assert code == 0, text
    want = whole.result()

    def damaged(kind: str) -> str:
        run.clear()
        shutil.copytree(whole.folder, run.folder)
        (run.folder / "scores.json").unlink()
        damage(run.folder / "checkpoints", kind, rng)
        return resumed(run, want)

    def killed(_: int) -> str:
        run.clear()
        process = run.start(imported=True)
        time.sleep(rng.uniform(0, args.seconds))
        if process.code() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return resumed(run, want)

    for kind in ("flipped bit", "truncated file", "missing file", "mutated metadata"):
        count(kind, args.tries, lambda _, kind=kind: damaged(kind))
    count("SIGKILL", args.tries, killed)
    stages = Run(top / "stages", staged=True)
    if args.only in "signal: second stage":
        code, text = stages.here()
        assert code == 0, text
        want_stages = stages.result()
    for phase in PHASES:
        which, wanted = (stages, "stages") if phase == "second stage" else (run, "run")
        count(
            f"signal: {phase}",
            args.signals,
            lambda n, phase=phase, which=which, wanted=wanted: signalled(
                which,
                phase,
                SIGNALS[n % 3],
                want_stages if wanted == "stages" else want,
                rng,
            ),
        )
    shutil.rmtree(top)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
