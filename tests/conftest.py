"""Shared test setup: eight devices on the CPU, the photographs, runs of seconds."""

import atexit
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version

import pytest

# Set before jax is imported. The tests run on the CPU even where there is a GPU; to use the GPU,
# set JAX_PLATFORMS. Processes that a test starts inherit all of this, and import this checkout.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in _flags:
    os.environ["XLA_FLAGS"] = f"{_flags} --xla_force_host_platform_device_count=8".strip()

# The default and the slow tests are many small programs, which take longer to compile than to run:
# XLA is told to optimize little. The optimized and nightly tests use a user's settings.
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0"
if version("jaxlib").startswith("0.10."):  # an unknown flag makes XLA end the process
    QUICK_TO_COMPILE += " --xla_cpu_use_fusion_emitters=false"

pytest.register_assert_rewrite("base")  # tests/models/base.py

# Long compilations are cached for all tests and for the processes that they start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxseg-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# Training processes would restart themselves with it: see jaxseg/cli/huge_pages.py.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

# jaxseg records the folders of prepared data sets here, not in the home of the tests' user.
for _home in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
    os.environ[_home] = tempfile.mkdtemp(prefix="jaxseg-tests-")
    atexit.register(shutil.rmtree, os.environ[_home], ignore_errors=True)

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
_paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _paths))


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """The root folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of data sets: $JAXSEG_DATA, or ../shared/data next to the checkout; else skips."""
    folder = os.environ.get("JAXSEG_DATA") or REPOSITORY.parent / "shared" / "data"
    if not pathlib.Path(folder).is_dir():
        pytest.skip(f"no data sets in {folder}: set JAXSEG_DATA to the folder that has them")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, for comparisons; skips where it is missing."""
    return pytest.importorskip("torch", reason="compares with PyTorch: pip install '.[torch]'")


@pytest.fixture
def reference_form():
    """Makes all ops use their reference forms."""
    from jaxseg.ops import implementation

    with implementation("reference"):
        yield


@pytest.fixture(scope="session")
def random_network():
    """`random_network(name, classes, **fields)`: a network and its variables, all random."""
    import jax
    import numpy as np

    import jaxseg

    def make(name, classes, **fields):
        model = jaxseg.create_model(name, num_classes=classes, **fields)
        images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
        like = jax.eval_shape(model.init, jax.random.key(0), images)
        rng = np.random.default_rng(0)

        def value(a):
            if len(a.shape) < 4:
                return rng.uniform(0.5, 1.5, a.shape).astype(np.float32)
            kernel = rng.normal(0, (2 / np.prod(a.shape[:3])) ** 0.5, a.shape)
            kernel -= kernel.mean(axis=(0, 1, 2))  # else one class would win everywhere
            return kernel.astype(np.float32)

        return model, jax.tree.map(value, like)

    return make


@pytest.fixture(scope="session")
def mesh():
    """Eight devices along one axis, "data"."""
    from jaxseg.distributed.mesh import make_mesh

    return make_mesh(8)


# A run of seconds: FCN-8s with few channels, on eight devices.
TINY = {
    "model.width": 0.03,
    "model.fc_channels": 128,
    "model.norm": "batch",
    "model.padding": 1,
    "model.dropout": 0.1,
    "data.scenes_train": 24,
    "data.scenes_eval": 5,
    "data.scenes_size": (32, 32),
    "augment.flip": 0.5,
    "train.steps": 40,
    "train.batch_size": 8,
    "optim.lr": 0.1,
    "loss.class_weights": (0.2, 1, 1, 1, 1, 1),  # else it predicts only background so early
    "eval.every_steps": 20,
    "checkpoint.every_steps": 5,
    "log.every_steps": 1,
    "log.pictures": 2,
}


@pytest.fixture(scope="session")
def tiny():
    """`tiny(fields)`: the config of a run of seconds; `fields`, by dotted name, change it."""
    from jaxseg.config import default_config, set_field

    def make(fields=None):
        config = default_config()
        for name, value in (TINY | (fields or {})).items():
            set_field(config, name, value)
        return config

    return make


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    """A config file that returns `tiny()`."""
    lines = [
        "from jaxseg.config import default_config",
        "def get_config():",
        "    c = default_config()",
        *(f"    c.{name} = {value!r}" for name, value in TINY.items()),
        "    return c",
    ]
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="session")
def words(tiny_file):
    """`words(workdir, fields)`: the arguments that train `tiny(fields)` in `workdir`."""

    def make(workdir, fields=None):
        changes = [f"--config.{name}={value}" for name, value in (fields or {}).items()]
        return ["train", "--config", str(tiny_file), "--workdir", str(workdir), *changes]

    return make


@pytest.fixture(scope="session")
def process():
    """`process(*words)`: runs the command line in another process with pipes; a `Popen`."""

    def start(*words, devices=8, **options):
        option = "--xla_force_host_platform_device_count="
        flags = re.sub(rf"{option}\d+", f"{option}{devices}", os.environ["XLA_FLAGS"])
        return subprocess.Popen(
            [sys.executable, "-m", "jaxseg", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"XLA_FLAGS": flags},
            **options,
        )

    return start


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory):
    """A finished run of `tiny()`: its workdir, and the scores that `train` returned."""
    from jaxseg.checkpoint.workdir import Workdir
    from jaxseg.training.loop import train

    workdir = tmp_path_factory.mktemp("finished") / "run"
    scores = train(tiny(), workdir)
    return Workdir(workdir), scores


@pytest.fixture(scope="session")
def finished_command(words, process, tmp_path_factory):
    """A run by the command line, which may set XLA flags: its workdir, and its output."""
    from jaxseg.checkpoint.workdir import Workdir

    workdir = tmp_path_factory.mktemp("finished") / "run"
    run = process(*words(workdir))
    out, err = run.communicate(timeout=300)
    assert (run.returncode, err) == (0, "")
    return Workdir(workdir), out


@pytest.fixture(scope="session")
def restored():
    """`restored(workdir, config, step)`: the state in a checkpoint, by default the newest."""
    import jax

    from jaxseg.checkpoint.manager import Checkpoints, abstract
    from jaxseg.checkpoint.workdir import Workdir
    from jaxseg.data import open_data
    from jaxseg.distributed.mesh import make_mesh, replicated
    from jaxseg.models import model_from_config
    from jaxseg.training.optimizers import make_optimizer
    from jaxseg.training.step import create_state

    def restore(workdir, config, step="last"):
        classes = open_data(config.data, "eval").info.num_classes
        model = model_from_config(config.model, classes)
        optimizer = make_optimizer(config.optim, config.train.steps)
        averaged = config.optim.ema is not None
        like = jax.eval_shape(lambda: create_state(model, optimizer, 0, (64, 64), averaged))
        checkpoints = Checkpoints(Workdir.existing(workdir).checkpoints)
        where = replicated(make_mesh(jax.device_count()))
        state, position = checkpoints.restore(checkpoints.find(step), abstract(like, where))
        checkpoints.close()
        return jax.device_get(state), position

    return restore


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Limits `pytest -n auto`: a worker takes up to 4 GB, and makes its own shared runs."""
    return min(4, len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks as slow the default cases after the first n of a test with `default_cases(n)`."""
    cases = collections.Counter()
    for item in items:
        limit = item.get_closest_marker("default_cases")
        if limit is None or any(map(item.get_closest_marker, ("slow", "optimized", "nightly"))):
            continue
        name = item.nodeid.partition("[")[0]
        cases[name] += 1
        if cases[name] > limit.args[0]:
            item.add_marker(pytest.mark.slow)


def pytest_configure(config):
    """Sets XLA_FLAGS before any test module imports jax; the workers of xdist inherit it."""
    chosen = re.sub(r"not (optimized|nightly)", "", config.option.markexpr)
    as_users_run = not config.option.markexpr or re.search("optimized|nightly", chosen)
    if not as_users_run and QUICK_TO_COMPILE not in os.environ["XLA_FLAGS"]:
        os.environ["XLA_FLAGS"] += " " + QUICK_TO_COMPILE
