"""A damaged checkpoint is reported, never restored silently; the previous one is used instead."""

import json
import os
import pathlib
import shutil
import socket
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xxhash
from jax.sharding import NamedSharding, PartitionSpec

from jaxseg.checkpoint import Checkpoints, restore_variables, whole_steps
from jaxseg.checkpoint.checksums import checksums, differing
from jaxseg.checkpoint.damage import DamagedCheckpoint, RemovedCheckpoint
from jaxseg.checkpoint.lease import lease, leased_steps
from jaxseg.checkpoint.lock import LOCK_FILE, process_start
from jaxseg.checkpoint.manager import abstract
from jaxseg.distributed.mesh import make_mesh, replicated
from jaxseg.errors import InputError
from jaxseg.pretrained.run import _restored

POSITION = {"step": 0, "seed": 7}


def state(step):
    values = np.random.default_rng(step).standard_normal((64, 65)).astype(np.float32)
    made = {"params": {"a": jnp.array(values), "b": jnp.bfloat16(values[0])}, "step": step}
    return jax.device_put(made, replicated(make_mesh(8)))


LIKE = abstract(state(0), replicated(make_mesh(8)))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Checkpoints 2 and 4 of a run of 8 steps."""
    folder = tmp_path_factory.mktemp("two")
    checkpoints = Checkpoints(folder)
    for step in (2, 4):
        checkpoints.save(step, state(step), POSITION | {"step": step}, steps=8)
    checkpoints.close()
    return folder


@pytest.fixture
def folder(two, tmp_path):
    return pathlib.Path(shutil.copytree(two, tmp_path / "c"))


def data(folder, step=4):
    files = (folder / str(step) / "state").rglob("ocdbt.process_0/d/*")
    return max(files, key=lambda p: p.stat().st_size)


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap_values(folder):
    """Stores the arrays of step 2 under the names of step 4: a complete but wrong checkpoint."""
    shutil.rmtree(folder / "4/state")
    shutil.copytree(folder / "2/state", folder / "4/state")


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGE = {
    "a bit": lambda f: flip(data(f), data(f).stat().st_size // 2),
    "cut": lambda f: cut(data(f)),
    "gone": lambda f: data(f).unlink(),
    "other values": swap_values,
    "no manifest": lambda f: (f / "4/state/manifest.ocdbt").unlink(),
    "metadata cut": lambda f: (f / "4/state/_METADATA").write_bytes(b'{"tree_me'),
    "position empty": lambda f: (f / "4/position/metadata").write_bytes(b""),
    "position changed": lambda f: (f / "4/position/metadata").write_text('{"step": 5}'),
    "checksums gone": lambda f: shutil.rmtree(f / "4/checksums"),
    "a part without a checksum": lambda f: replace(f / "4/checksums/metadata", "0:64", "0:65"),
    "an array not listed": lambda f: replace(f / "4/checksums/metadata", "params/b", "params/c"),
    "another type": lambda f: replace(f / "4/checksums/metadata", '"bfloat16"', '"float16"'),
    "checksums cut": lambda f: cut(f / "4/checksums/metadata"),
    "index cut": lambda f: cut(f / "4/_CHECKPOINT_METADATA"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_run_uses_the_previous_intact_checkpoint(folder, how):
    DAMAGE[how](folder)
    lock = {"host": socket.gethostname(), "process": os.getpid()}  # held during a restore
    (folder.parent / LOCK_FILE).write_text(json.dumps(lock))
    checkpoints, said = Checkpoints(folder, clean=True), []
    step, restored, position = checkpoints.restore_newest(LIKE, 8, said.append)
    assert (step, position) == (2, POSITION | {"step": 2})
    jax.tree.map(np.testing.assert_array_equal, restored, state(2))
    assert len(said) == 2 and "step 4" in said[0] and "2 step(s) earlier" in said[1]
    checkpoints.save(4, state(4), POSITION, steps=8)  # the damaged folder is out of the way
    checkpoints.close()
    assert whole_steps(folder) == [2, 4] and (folder / "4.damaged").is_dir()


def test_every_flipped_byte_of_an_array_is_detected(folder):
    """A flipped byte is detected, or it changes nothing: the file has unused parts."""
    want, path, noticed = restore_variables(folder, 4), data(folder), 0
    for at in range(50, path.stat().st_size, path.stat().st_size // 12):
        flip(path, at)
        try:
            jax.tree.map(np.testing.assert_array_equal, restore_variables(folder, 4), want)
        except DamagedCheckpoint:
            noticed += 1
        flip(path, at)
    assert noticed > 6


def test_predict_names_the_damaged_one_and_an_older(folder):
    cut(data(folder))
    with pytest.raises(InputError, match=r"step 4 in .* is damaged: .*--step 2"):
        _restored(folder, "last")
    step, variables = _restored(folder, 2)
    assert step == 2
    np.testing.assert_array_equal(variables["params"]["a"], state(2)["params"]["a"])
    (folder / "4/state/_METADATA").unlink()
    with pytest.raises(InputError, match=r"Missing: state/_METADATA.*--step 2"):
        _restored(folder, "last")


def test_the_only_one_is_damaged(folder):
    shutil.rmtree(folder / "2")
    cut(data(folder))
    checkpoints = Checkpoints(folder)
    with pytest.raises(InputError, match="There is no older checkpoint"):
        checkpoints.restore_newest(LIKE, 8)
    checkpoints.close()
    assert (folder / "4").is_dir()


def test_steps_of_a_run_of_another_length_are_not_made_again(folder):
    """The learning rates would differ."""
    cut(data(folder))
    checkpoints = Checkpoints(folder)
    with pytest.raises(InputError, match=r"config\.train\.steps=8 again"):
        checkpoints.restore_newest(LIKE, 9)
    checkpoints.close()
    assert (folder / "4").is_dir()


def test_a_checkpoint_without_checksums_is_read(folder):
    """Older versions wrote none."""
    index = folder / "4/_CHECKPOINT_METADATA"
    index.write_text(index.read_text().replace('"checksums"', '"other"'))
    shutil.rmtree(folder / "4/checksums")
    read = restore_variables(folder, 4)["params"]["a"]
    np.testing.assert_array_equal(read, state(4)["params"]["a"])


@pytest.mark.parametrize("spec", [("data", None), (None, "data"), (("data", "fsdp"), None), ()])
def test_checksums_of_arrays_that_are_split(spec):
    """Checksums saved with one sharding can be checked with any other, and by NumPy."""
    mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    values = np.arange(128, dtype=np.float32).reshape(8, 16)
    split = jax.device_put(values, NamedSharding(mesh, PartitionSpec(*spec)))
    entries = checksums({"a": split})
    assert len(entries["a"]["parts"]) == {("data", None): 4, (None, "data"): 4, (): 1}.get(spec, 8)
    if not spec:
        assert entries["a"]["parts"]["0:8,0:16"] == xxhash.xxh3_64_hexdigest(values.tobytes())
    other = jax.device_put(values, NamedSharding(mesh, PartitionSpec("fsdp")))
    for tree in ({"a": values}, {"a": other}, {"a": split}):
        assert differing(tree, entries) is None
        changed = {"a": tree["a"] + (np.arange(16) == 15)}
        assert differing(changed, entries) == "a"
        assert differing({"b": tree["a"]}, entries) == "b"


def test_a_checkpoint_that_is_read_is_kept(folder):
    with lease(folder, 2):
        assert not leased_steps(folder)  # no lease is written where no run saves
    checkpoints = Checkpoints(folder, keep_last=1, clean=True)
    with lease(folder, 2):
        assert leased_steps(folder) == {2}
        checkpoints.save(6, state(6), POSITION)
        checkpoints.wait()
        assert whole_steps(folder) == [2, 6]
    checkpoints.save(7, state(7), POSITION)
    checkpoints.close()
    assert whole_steps(folder) == [7]
    assert not (folder / ".reading").exists()


def test_if_the_checkpoint_is_removed_a_newer_one_is_read(folder, monkeypatch):
    seen = []

    def removed_once(folder, step):
        seen.append(step)
        if step == 4:
            shutil.move(folder / "4", folder / "6")
            raise RemovedCheckpoint(folder, step)
        return restore_variables(folder, step)

    monkeypatch.setattr("jaxseg.checkpoint.reading.restore_variables", removed_once)
    assert _restored(folder, "last")[0] == 6 and seen == [4, 6]


def test_a_checkpoint_removed_during_the_read_is_not_damaged(folder):
    shutil.rmtree(folder / "4")
    with pytest.raises(RemovedCheckpoint):
        restore_variables(folder, 4)


def test_a_missing_device_is_no_damage(folder, monkeypatch):
    def missing():
        raise RuntimeError("Unknown backend: cuda")

    monkeypatch.setattr(jax, "devices", missing)
    (folder / "4/state/_METADATA").write_text("{")
    with pytest.raises(RuntimeError, match="Unknown backend"):
        restore_variables(folder, 4)


@pytest.fixture
def half_removed(folder):
    """A folder in which another process saves; step 4 has lost its arrays."""
    other = os.getppid()
    lock = {"host": socket.gethostname(), "process": other, "began": process_start(other)}
    (folder.parent / LOCK_FILE).write_text(json.dumps(lock))
    for path in (folder / "4/state").rglob("d/*"):
        path.unlink()
    return folder


def test_a_checkpoint_during_its_removal_is_not_damaged(half_removed):
    removal = threading.Timer(0.3, shutil.rmtree, [half_removed / "4"])
    removal.start()
    with pytest.raises(RemovedCheckpoint):
        restore_variables(half_removed, 4)
    removal.join()


def test_damage_is_reported_even_while_a_run_saves_there(half_removed, monkeypatch):
    monkeypatch.setattr("jaxseg.checkpoint.damage._REMOVAL_SECONDS", 0.1)
    with pytest.raises(DamagedCheckpoint):
        restore_variables(half_removed, 4)
