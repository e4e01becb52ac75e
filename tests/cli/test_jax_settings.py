import jax
import pytest

from jaxseg import cli
from jaxseg.cli.jax_settings import jax_setting_error

BAD = (
    "invalid truth value 'x' for environment 'JAX_ENABLE_X64'",  # as JAX writes them
    'Invalid value "x" for JAX flag jax_enable_x64',
)


@pytest.mark.parametrize("text", BAD)
def test_a_value_that_jax_does_not_accept(text, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "x")
    assert "JAX_ENABLE_X64 is 'x'" in jax_setting_error(ValueError(text)).problem
    monkeypatch.delenv("JAX_ENABLE_X64")
    assert jax_setting_error(ValueError(text)) is None


@pytest.mark.parametrize(
    ("platform", "fix"),
    [("cuda", "jaxseg[cuda]"), ("cpu,tpu", "jaxseg[tpu]"), ("banana", "cpu, cuda or tpu")],
)
def test_a_platform_that_is_missing(platform, fix, monkeypatch, capsys):
    def missing(argv=()):
        raise RuntimeError("Unable to initialize backend")

    monkeypatch.setenv("JAX_PLATFORMS", platform)
    monkeypatch.setattr(jax, "devices", missing)
    monkeypatch.setattr("jaxseg.cli.models.main", missing)
    assert cli.run(["models"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: JAX_PLATFORMS is {platform!r}") and fix in err
