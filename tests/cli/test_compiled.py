"""Programs that one process has compiled, and the next one reads."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxseg.cli.compiled import _make_room, compiled_folder, keep_compiled_programs

# A train step with a donated state: trained for three steps, and its parameters' bytes printed.
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


def steps(home, **changes):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(home), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""} | changes
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True
    )
    (digest, hits, misses), folder = (line.split() for line in done.stdout.splitlines())
    assert "machine" not in done.stderr.lower()  # what XLA says of programs for another processor
    return digest, int(hits), int(misses), folder[0]


@pytest.mark.slow
def test_the_second_process_compiles_nothing_and_gets_the_same(tmp_path):
    digest, hits, misses, folder = steps(tmp_path)
    assert hits == 0 and folder.startswith(str(tmp_path / "jaxseg" / "compiled"))
    assert steps(tmp_path) == (digest, misses, 0, folder)
    assert misses >= 2  # the initial state and the step


@pytest.fixture
def unset(monkeypatch, tmp_path):
    """As in a process that has not been told of a folder, with an empty home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
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


def test_what_was_not_read_for_longest_makes_room(tmp_path):
    for age, name in enumerate(("new", "old", "older")):
        file = tmp_path / name
        file.write_bytes(np.zeros(100, np.uint8))
        os.utime(file, (1e9 - age, 1e9 - age))
    _make_room(tmp_path, 300)
    assert len(list(tmp_path.iterdir())) == 3
    _make_room(tmp_path, 250)
    assert {file.name for file in tmp_path.iterdir()} == {"new", "old"}
