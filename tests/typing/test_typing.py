"""A type checker sees the types of the public API: mypy --strict on a user's script."""

import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).with_name("user_script.py")


OPTIONS = (
    "--strict",
    "--follow-imports=silent",  # hides errors inside other packages
    "--disable-error-code=import-untyped",  # optax
    "--config-file=",
)


@pytest.fixture(scope="module")
def mypy(repository, tmp_path_factory):
    """`mypy(file)`: checks a file as a user's script."""
    pytest.importorskip("mypy", reason="needs mypy: pip install '.[dev]'")
    cache = tmp_path_factory.mktemp("mypy")

    def run(file):
        command = [sys.executable, "-m", "mypy", *OPTIONS, f"--cache-dir={cache}", str(file)]
        return subprocess.run(command, capture_output=True, text=True, cwd=repository)

    return run


@pytest.mark.slow
def test_users_script_passes(mypy):
    done = mypy(SCRIPT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "line, error",
    [
        ("jaxseg.creat_model('fcn8s_vgg16', 21)", "attr-defined"),
        ("jaxseg.create_model('fcn8s_vgg16', num_classes='21')", "arg-type"),
        ("jaxseg.ops.max_pool(jnp.ones([1, 4, 4, 1]), '2', 2)", "arg-type"),
        ("jaxseg.losses.cross_entropy([[0.5]], jnp.ones([1, 4, 4]))", "arg-type"),
        ("jaxseg.predict(model, {}, 'a.jpg').no_such_method()", "attr-defined"),
        ("jaxseg.load('runs/a', stepp=3)", "call-arg"),
    ],
)
def test_mistakes_are_seen(mypy, tmp_path, line, error):
    script = tmp_path / "script.py"
    script.write_text(
        "import jax.numpy as jnp\nimport jaxseg\n\n"
        f"model = jaxseg.create_model('fcn8s_vgg16', 21)\n{line}\n"
    )
    assert ":5: error:" in (output := mypy(script).stdout) and f"[{error}]" in output, output


def test_the_package_says_that_it_is_typed():
    import jaxseg

    assert pathlib.Path(jaxseg.__file__).with_name("py.typed").is_file()
