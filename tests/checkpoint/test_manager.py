"""Checkpoints: the saved values are those at the save, and only complete ones are chosen."""

import functools
import re
import shutil
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.checkpoint import Checkpoints, whole_steps
from jaxseg.checkpoint.damage import silence_leftovers
from jaxseg.checkpoint.manager import abstract
from jaxseg.checkpoint.steps import COMPARED_FROM, find_step, saved_mean_iou
from jaxseg.distributed.mesh import make_mesh, replicated
from jaxseg.errors import InputError

POSITION = {"step": 0, "seed": 7}


@functools.partial(jax.jit, donate_argnums=0)
def change(state):
    return jax.tree.map(lambda a: a + 1, state)


def make_state(value=0.0, size=1):
    def make():
        ramp = jnp.arange(size, dtype=jnp.float32) + value
        return {"w": {"a": ramp, "b": ramp * 2}, "step": jnp.int32(value)}

    return jax.jit(make, out_shardings=replicated(make_mesh(8)))()


def save(checkpoints, *steps, scores=None):
    for step in steps:
        checkpoints.save(step, make_state(step), POSITION | {"step": step}, scores)
    checkpoints.wait()


@pytest.fixture
def checkpoints(tmp_path):
    """A manager that keeps the newest and the best checkpoint."""
    checkpoints = Checkpoints(tmp_path / "c", keep_last=1)
    yield checkpoints
    checkpoints.close()


def folders(tmp_path):
    return {p.name for p in (tmp_path / "c").iterdir() if p.name != ".reading"}


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("sharding", ["replicated", "one device"])
def test_saves_the_values_of_the_moment(checkpoints, sharding):
    """On the CPU a host copy may share the device's memory, which the next step reuses."""
    state = make_state(0.5, size=2**20)
    if sharding == "one device":
        state = jax.device_put(state, jax.devices()[0])
    like = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state
    )
    state = change(state)
    then = jax.tree.map(lambda a: np.array(a, copy=True), state)
    checkpoints.save(1, state, POSITION)
    for _ in range(100):
        old, state = state, change(state)
    assert all(a.is_deleted() for a in jax.tree.leaves(old))
    jax.block_until_ready(state)
    saved, position = checkpoints.restore(1, like)
    jax.tree.map(np.testing.assert_array_equal, saved, then)
    assert position == POSITION
    assert jax.tree.leaves(saved)[0].sharding == jax.tree.leaves(like)[0].sharding
    assert float(state["w"]["a"][0]) == 101.5


def test_newest_and_best_are_kept(checkpoints, tmp_path):
    for step, score in [(1, 0.5), (2, 0.9), (3, None), (4, 0.7), (5, None), (6, 0.2)]:
        save(checkpoints, step, scores=score and {"mean_iou": score})
    assert folders(tmp_path) == {"2", "6"}
    assert (checkpoints.find("best"), checkpoints.find("last"), checkpoints.latest()) == (2, 6, 6)
    again = Checkpoints(tmp_path / "c", keep_last=1)
    assert (again.find("best"), again.find("last")) == (2, 6)
    save(again, 7, scores={"mean_iou": 0.95})
    again.close()
    assert folders(tmp_path) == {"7"}


def test_the_newest_of_equally_good_ones_is_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", keep_last=9)
    for step, score in [(1, 0.5), (2, 0.9), (3, 0.9), (4, 0.1)]:
        save(checkpoints, step, scores={"mean_iou": score})
    checkpoints.close()
    assert find_step(tmp_path / "c", "best") == 3
    assert [saved_mean_iou(tmp_path / "c", step) for step in (1, 4, 5)] == [0.5, 0.1, None]


def test_the_best_of_another_evaluation_is_kept_until_there_is_a_new_one(checkpoints, tmp_path):
    save(checkpoints, 1, 2, scores={"mean_iou": 0.9})
    checkpoints.compare_from(2)
    for step, score, kept in [(3, None, {"2", "3"}), (4, 0.3, {"4"}), (5, 0.2, {"4", "5"})]:
        about = POSITION | {"step": step, COMPARED_FROM: 2}
        checkpoints.save(step, make_state(step), about, score and {"mean_iou": score})
        checkpoints.wait()
        assert folders(tmp_path) == kept
        assert find_step(tmp_path / "c", "best") == (3 if score is None else 4)


def test_keeps_as_many_as_asked_for(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", keep_last=2, keep_best=0)
    for step in (1, 2, 3):
        save(checkpoints, step, scores={"mean_iou": 1 / step})
    checkpoints.close()
    assert folders(tmp_path) == {"2", "3"}


def test_find(checkpoints):
    assert checkpoints.latest() is None
    with pytest.raises(InputError, match="contains no checkpoint"):
        checkpoints.find("last")
    save(checkpoints, 3)
    assert checkpoints.find("best") == 3  # no checkpoint was scored
    assert checkpoints.find(3) == checkpoints.find("3") == checkpoints.find("last") == 3
    for unknown in (4, "4", "newest", -3):
        with pytest.raises(InputError, match=rf"'{unknown}'.*one of 3\."):
            checkpoints.find(unknown)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: s | {"average": s["w"]},
            "average/a the checkpoint has no such array, but this run has shape",
        ),
        (
            lambda s: s | {"w": {"a": s["w"]["a"]}},
            "w/b the checkpoint has shape (1,), but this run has no such",
        ),
        (
            lambda s: s | {"step": s["w"]["a"]},
            "step the checkpoint has shape (), but this run has shape (1,)",
        ),
    ],
)
def test_a_state_of_other_arrays_is_refused(checkpoints, change, words):
    save(checkpoints, 3)
    other = change(make_state(3))
    like = abstract(other, jax.tree.leaves(other)[0].sharding)
    with pytest.raises(InputError, match=re.escape(words)):
        checkpoints.restore(3, like)


def test_a_state_of_an_older_version_may_lack_empty_parts(checkpoints):
    save(checkpoints, 3)
    state = make_state(3)
    like = abstract(state | {"average": {}}, jax.tree.leaves(state)[0].sharding)
    saved, _ = checkpoints.restore(3, like)
    assert saved.keys() == {"w", "step", "average"} and saved["average"] == {}
    jax.tree.map(np.testing.assert_array_equal, saved["w"], state["w"])


def broken(folder, how):
    """Makes step 9 as a killed process may leave it, next to the complete checkpoint 1."""
    source, target = folder / "1", folder / "9"
    if how == "unfinished":
        target = folder / "9.orbax-checkpoint-tmp"
    shutil.copytree(source, target)
    if how in ("unfinished", "half"):
        (target / "state" / "_METADATA").unlink()
    elif how == "unmarked":
        (target / "_CHECKPOINT_METADATA").unlink()
        (target / "commit_success.txt").unlink(missing_ok=True)
    elif how == "no position":
        shutil.rmtree(target / "position")
    elif how == "empty":
        shutil.rmtree(target)
        target.mkdir()


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("how", ["unfinished", "unmarked", "half", "no position", "empty"])
def test_unfinished_checkpoints_are_not_chosen(tmp_path, how):
    first = Checkpoints(tmp_path / "c")
    save(first, 1, scores={"mean_iou": 0.5})
    first.close()
    broken(tmp_path / "c", how)
    assert whole_steps(tmp_path / "c") == [1]
    reader = Checkpoints(tmp_path / "c")  # a reader while a run is saving
    assert reader.latest() == 1 and reader.removed == []
    reader.close()

    checkpoints = Checkpoints(tmp_path / "c", keep_last=1, keep_best=0, clean=True)
    assert checkpoints.removed == ["9.orbax-checkpoint-tmp" if how == "unfinished" else "9"]
    assert folders(tmp_path) == {"1"}
    assert checkpoints.find("last") == checkpoints.find("best") == checkpoints.latest() == 1
    with pytest.raises(InputError, match="'9'"):
        checkpoints.find(9)
    saved, _ = checkpoints.restore(1, abstract(make_state(), replicated(make_mesh(8))))
    assert float(saved["w"]["a"][0]) == 1
    save(checkpoints, 2)
    assert whole_steps(tmp_path / "c") == [2]  # not removed in favour of the unfinished one
    save(checkpoints, 9)  # replaces the unfinished one
    assert checkpoints.find("last") == 9
    saved, _ = checkpoints.restore(9, abstract(make_state(), replicated(make_mesh(8))))
    assert float(saved["w"]["a"][0]) == 9
    checkpoints.close()
    assert folders(tmp_path) == {"9"}


def test_other_folders_are_no_checkpoints(tmp_path):
    (tmp_path / "c" / "notes").mkdir(parents=True)
    assert whole_steps(tmp_path / "c") == []
    assert whole_steps(tmp_path / "missing") == []


def test_what_a_failed_save_leaves_behind_is_not_printed(tmp_path, monkeypatch):
    """As coroutines of asyncio do on a full disk, after the two lines."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    silence_leftovers.cache_clear()
    Checkpoints(tmp_path).close()
    for error in (RuntimeError("Event loop is closed"), RuntimeError("another")):
        sys.unraisablehook(types.SimpleNamespace(object=None, exc_value=error))
    assert [str(t.exc_value) for t in told] == ["another"]
    silence_leftovers.cache_clear()
