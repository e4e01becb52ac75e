import jax
import pytest


@pytest.fixture
def other_platforms_form(monkeypatch):
    """Runs, on the CPU, what GPU and TPU would run."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *xs, default, **_: default(*xs))
