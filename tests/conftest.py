"""What every test shares: eight devices on the CPU, the photographs, the list of tests not run."""

import os
import pathlib

import pytest

# Before jax is imported. The tests run on the CPU, also where there is a GPU: to run them there,
# set JAX_PLATFORMS. Processes that a test starts inherit all of this, and import this checkout.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in _flags:
    os.environ["XLA_FLAGS"] = f"{_flags} --xla_force_host_platform_device_count=8".strip()

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
_paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _paths))


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder of the data sets, $JAXSEG_DATA or ../shared/data beside the checkout; else skips."""
    folder = os.environ.get("JAXSEG_DATA") or REPOSITORY.parent / "shared" / "data"
    if not pathlib.Path(folder).is_dir():
        pytest.skip(f"no data sets in {folder}: set JAXSEG_DATA to the folder that has them")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, with which some tests compare; else skips."""
    return pytest.importorskip("torch", reason="compares with PyTorch: pip install '.[torch]'")


@pytest.fixture(scope="session")
def mesh():
    """Eight devices along one axis, "data"."""
    from jaxseg.sharding import make_mesh

    return make_mesh(8)


def pytest_configure(config):
    config.pluginmanager.register(_NotRun(), "tests-not-run")


class _NotRun:
    """Lists the tests that an interrupted session left, as when its time was up."""

    def __init__(self):
        self.left: dict[str, None] = {}

    def pytest_collection_finish(self, session):
        self.left = dict.fromkeys(item.nodeid for item in session.items)

    def pytest_runtest_logreport(self, report):
        if report.when == "teardown":
            self.left.pop(report.nodeid, None)

    def pytest_terminal_summary(self, terminalreporter):
        if self.left and not terminalreporter.config.option.collectonly:
            terminalreporter.section(f"not run: {len(self.left)}")
            for nodeid in self.left:
                terminalreporter.line(nodeid)
