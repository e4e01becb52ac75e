"""The names of `import jaxseg`, and the packages that it does not load."""

import subprocess
import sys

import pytest

import jaxseg

HEAVY = ("jax", "flax", "optax", "orbax", "grain", "numpy", "PIL")


def loaded_by(program: str) -> set[str]:
    """The heavy packages that a Python process has imported at its end."""
    code = f"import sys\n{program}\nprint(*(sys.modules.keys() & {set(HEAVY)!r}), file=sys.stderr)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_every_name_is_there():
    assert dir(jaxseg) == sorted([*jaxseg.__all__, "__version__"])
    for name in jaxseg.__all__:
        assert getattr(jaxseg, name) is getattr(jaxseg, name)
    assert jaxseg.pretrained.load_exported and jaxseg.losses.cross_entropy
    assert jaxseg.data.open_data  # a subpackage, without an explicit import
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        jaxseg.create_modle  # noqa: B018


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["predict", "--help"]])
def test_help_loads_no_jax(words):
    code = (
        "from jaxseg.cli import run\n"
        f"try:\n    code = run({words!r})\nexcept SystemExit as end:\n    code = end.code\n"
        "assert code == 0"
    )
    assert loaded_by(code) <= {"numpy"}


def test_checkpoints_are_found_without_orbax(finished):
    folder = finished[0].path
    code = (
        "from jaxseg.checkpoint import whole_steps\n"
        "from jaxseg.checkpoint.workdir import Workdir\n"
        f"assert whole_steps(Workdir.existing({str(folder)!r}).checkpoints)"
    )
    assert "orbax" not in loaded_by(code)
    from jaxseg.checkpoint import Checkpoints, restore_variables

    assert Checkpoints and "params" in restore_variables(finished[0].checkpoints, 40)
