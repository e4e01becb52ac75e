"""The cache of compiled programs: what one process compiles, the next one reads."""

import os
import subprocess
import sys

import jax
import pytest

from jaxseg.cli.compiled import compiled_folder, keep_compiled_programs

# A train step with a donated state: runs three steps, then prints the bytes of its parameters.
STEPS = """
import sys, hashlib
from jaxseg.cli import settle_process
settle_process()
import jax, numpy as np
from jaxseg.config import default_config
from jaxseg.data import open_data
from jaxseg.training.setup import Program
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # all of them
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.split("/")[-1]))
c = default_config()
c.model.width, c.model.fc_channels, c.model.padding, c.model.norm = 0.03, 64, 1, "batch"
c.data.scenes_train, c.data.scenes_size, c.train.batch_size = 8, (32, 32), 2
program = Program(c, open_data(c.data, "train", 0))
state, batches = program.initial_state(), program.batches()
for _ in range(3):
    state, metrics = program.step(state, *next(batches))
batches.close()
digest = hashlib.sha256()
for leaf in jax.tree.leaves(state):
    digest.update(np.asarray(leaf).tobytes())
print(digest.hexdigest(), events.count("cache_hits"), events.count("cache_misses"))
print(jax.config.jax_compilation_cache_dir)
"""


def run(code, home, **changes):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(home), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""} | changes
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )


def steps(home, **changes):
    done = run(STEPS, home, **changes)
    (digest, hits, misses), folder = (line.split() for line in done.stdout.splitlines())
    assert "machine" not in done.stderr.lower()  # XLA's warning about another processor
    return digest, int(hits), int(misses), folder[0]


@pytest.mark.slow
def test_the_second_process_compiles_nothing_and_gets_the_same(tmp_path):
    digest, hits, misses, folder = steps(tmp_path)
    assert hits == 0 and folder.startswith(str(tmp_path / "jaxseg" / "compiled"))
    assert steps(tmp_path) == (digest, misses, 0, folder)
    assert misses >= 2  # the initial state and the step


@pytest.fixture
def unset(monkeypatch, tmp_path):
    """A process without a configured cache folder, with an empty home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = (
        "jax_compilation_cache_dir",
        "jax_compilation_cache_max_size",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def test_folder(unset):
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(compiled_folder())
    assert compiled_folder().is_dir() and unset in compiled_folder().parents


def test_ones_own_folder_stays(unset):
    jax.config.update("jax_compilation_cache_dir", str(unset / "mine"))
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(unset / "mine")


def test_no_folder_to_be_had(unset, monkeypatch):
    (unset / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(unset / "file"))
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir is None


# Compiles four programs of about 3 KB each, reads the first again, and lists the cached ones.
FOUR = """
import pathlib, sys
from jaxseg.cli import settle_process
settle_process()
import jax, numpy as np
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
def run(name):
    def f(x): return x + 1
    f.__name__ = name
    jax.jit(f)(np.ones(3)).block_until_ready()
run("first"), run("second")
jax.clear_caches()
run("first"), run("third"), run("fourth")
folder = pathlib.Path(jax.config.jax_compilation_cache_dir)
sizes = {path.name.split("-")[0][4:]: path.stat().st_size for path in folder.glob("*-cache")}
print(jax.config.jax_compilation_cache_max_size, *sizes, max(sizes.values()))
"""


def four(home, **changes):
    names = ("first", "second", "third", "fourth")
    limit, *kept, size = run(FOUR, home, **changes).stdout.split()
    return int(limit), [name for name in names if name in kept], int(size)


@pytest.mark.slow
def test_the_least_recently_read_program_is_removed(tmp_path):
    limit, kept, size = four(tmp_path / "all")
    assert (limit, kept) == (4 * 2**30, ["first", "second", "third", "fourth"])
    limit = str(int(size * 3.5))
    kept = four(tmp_path / "three", JAX_COMPILATION_CACHE_MAX_SIZE=limit)[1]
    assert kept == ["first", "third", "fourth"]


def test_a_program_that_was_half_written_goes(unset):
    folder = compiled_folder()
    folder.mkdir(parents=True)
    for name in ("whole-cache", "whole-atime", "half-cache"):
        (folder / name).write_bytes(b"")
    keep_compiled_programs()
    assert {path.name for path in folder.iterdir()} == {"whole-cache", "whole-atime"}
