import types

import jax
import jax.numpy as jnp
import pytest

from jaxseg.training.profile import Profile
from jaxseg.training.summary import summary


def test_summary_of_a_known_step():
    step = jax.jit(lambda state, images, labels: images @ state)
    state, images = jnp.ones([64, 1000]), jnp.ones([8, 64])
    compiled = step.lower(state, images, None).compile()
    program = types.SimpleNamespace(step=step, like=state, compiled=compiled, source=range(20))
    flops = 2 * 8 * 64 * 1000
    said = summary(program, images, None)
    assert said.startswith(f"a step of 8 images needs {flops / 1e6:.3g} MFLOPs, 0.00 GiB of memory")
    assert said.endswith("an epoch has 3 steps")


@pytest.mark.parametrize(("steps", "traced"), [("2..3", (2, 3)), (None, ()), ("7..9", ())])
def test_profile_of_some_steps(tmp_path, monkeypatch, steps, traced):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: calls.append(("start", folder)))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append(("stop",)))
    said: list[str] = []
    profile = Profile(steps, tmp_path / "profile", said.append)
    for step in range(1, 6):
        profile.before(step)
        calls.append(step)
        profile.after(step, jnp.ones(1))
    profile.close()
    started = [("start", str(tmp_path / "profile"))]
    expected = [1, *started, 2, 3, ("stop",), 4, 5] if traced else [1, 2, 3, 4, 5]
    assert calls == expected and len(said) == bool(traced)


def test_a_profile_that_the_run_ends_within_is_closed(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: calls.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
    profile = Profile("1..9", tmp_path, print)
    profile.before(1)
    profile.after(1, jnp.ones(1))
    profile.close()
    profile.close()
    assert calls == ["start", "stop"]
