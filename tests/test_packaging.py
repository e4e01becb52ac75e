"""The distribution, and that a warning caused by jaxseg's own code is an error."""

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
import warnings
import zipfile

import pytest

import jaxseg


def run(repository, *words):
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120, cwd=repository
    )
    assert done.returncode == 0, done.stderr
    return done


def test_wheel_holds_the_package_alone(repository, tmp_path):
    pytest.importorskip("hatchling")
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    run(repository, "-c", build, str(tmp_path))
    (wheel,) = tmp_path.glob("jaxseg-*-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "jaxseg",
        f"jaxseg-{jaxseg.__version__}.dist-info",
    }
    own = {n for n in names if n.startswith("jaxseg/")}
    assert own == {
        path.relative_to(repository).as_posix()
        for path in (repository / "jaxseg").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {
        f"jaxseg/config/recipes/configs/{path.name}"
        for path in (repository / "configs").glob("*.py")
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_version_is_that_of_the_code(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["dynamic"] == ["version"]
    assert run(repository, "-m", "jaxseg", "--version").stdout == f"jaxseg {jaxseg.__version__}\n"
    citation = (repository / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {jaxseg.__version__}\n" in citation


def test_constraints_meet_the_lower_bounds(repository):
    """Every dependency is pinned in constraints.txt, for each Python, at or above its bound."""
    packaging = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    pins = [
        packaging.Requirement(line)
        for line in (repository / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    extras = project["optional-dependencies"]
    needs = project["dependencies"] + extras["test"] + extras["torch"] + extras["dev"]
    for python in ("3.11", "3.12", "3.13"):
        versions = {
            pin.name.lower().replace("_", "-"): next(iter(pin.specifier)).version
            for pin in pins
            if pin.marker is None or pin.marker.evaluate({"python_version": python})
        }
        for need in map(packaging.Requirement, needs):
            assert need.specifier.contains(versions[need.name.lower().replace("_", "-")]), need


# Imported only by our dependencies, which do not declare them; jaxlib, whose version is read.
_NEEDED_BY_OTHERS = {"flatbuffers", "importlib-resources", "jaxlib"}
# The converter to ONNX has an environment of its own: docs/guides/export.md.
_ELSEWHERE = {"jax2onnx", "onnxruntime"}


def test_what_is_imported_is_declared_and_the_other_way_round(repository):
    packaging = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    names = {"plain": project["dependencies"]} | project["optional-dependencies"]
    declared = {
        extra: {_usual(packaging.Requirement(need).name) for need in needs}
        for extra, needs in names.items()
    }
    imported = set()
    for file in (repository / "jaxseg").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    of_import = importlib.metadata.packages_distributions() | {
        "cv2": ["opencv-contrib-python-headless"],
        "wandb": ["wandb"],
        "mlflow": ["mlflow-skinny"],
        "trackio": ["trackio"],
        "huggingface_hub": ["huggingface_hub"],
        "av": ["av"],
    }
    imported -= {"jaxseg", "__future__"} | _ELSEWHERE | set(sys.stdlib_module_names)
    found = {_usual(name) for i in imported for name in of_import.get(i, [i])}
    extras = declared["opencv"] | declared["wandb"] | declared["hub"] | declared["hf"]
    extras |= declared["mlflow"] | declared["trackio"]
    extras |= declared["serve"] | declared["video"] | declared["images"] | declared["geo"]
    needed_with_it = {"python-multipart"}  # Starlette imports it to parse forms
    assert declared["serve"] - needed_with_it <= found
    assert found - declared["plain"] - extras == set()
    assert declared["plain"] - found == _NEEDED_BY_OTHERS


def _usual(name):
    return name.lower().replace("_", "-")


def test_import_raises_no_warning(repository):
    run(repository, "-W", "error", "-c", "import jaxseg, jaxseg.config, jaxseg.main")


@pytest.mark.parametrize("module", ["jaxseg", "jaxseg.ops.anything", "test_anything", "conftest"])
@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning, ResourceWarning])
def test_a_warning_of_our_own_code_is_an_error(module, category):
    with pytest.raises(category):
        exec("warnings.warn('old', category)", _globals(module, category))


def test_a_warning_attributed_to_our_code_as_the_caller_is_an_error():
    library = _globals("library", DeprecationWarning)
    exec("def old(): warnings.warn('old', category, stacklevel=2)", library)
    with pytest.raises(DeprecationWarning):
        exec("old()", _globals("jaxseg.anything", None) | {"old": library["old"]})
    with pytest.raises(DeprecationWarning):
        library["old"]()


@pytest.mark.parametrize("module", ["library", "jaxsegment", "library.jaxseg_like"])
def test_a_warning_inside_a_library_is_not(module):
    with warnings.catch_warnings(record=True) as caught:
        exec("warnings.warn('old', category)", _globals(module, DeprecationWarning))
    assert len(caught) == 1


def _globals(module, category):
    return {"__name__": module, "warnings": warnings, "category": category}
