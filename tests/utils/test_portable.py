"""jaxseg needs no module that only some systems have: training starts on Windows."""

import subprocess
import sys

import pytest

# The modules that Python's documentation lists as Unix only. Other libraries import some of them,
# too, and can do without; those libraries are imported first.
IMPORTS = """
import importlib, os, pkgutil, signal, sys
import flax.linen, grain, jax.experimental.multihost_utils, optax, scipy.ndimage, tensorboardX, tqdm
import orbax.checkpoint, tensorflow_datasets
tensorflow_datasets.core.GeneratorBasedBuilder, tensorflow_datasets.features.Image
for name in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for module, names in (
    (os, "execv fork getuid kill sched_getaffinity uname wait4"),
    (signal, "SIGKILL SIGUSR1 SIGUSR2 SIGHUP SIGALRM alarm pthread_sigmask"),
):
    for name in names.split():
        delattr(module, name)

import jaxseg
modules = [found.name for found in pkgutil.walk_packages(jaxseg.__path__, "jaxseg.")]
for name in modules:
    if not name.endswith("__main__"):
        importlib.import_module(name)
from jaxseg.utils.usage import peak_process_memory, processor_seconds, usable_processors
assert peak_process_memory() is None
assert processor_seconds() > 0 and usable_processors() > 0
print(len(modules))
"""


@pytest.mark.slow
def test_every_module_is_imported_without_what_only_unix_has():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_usage_is_reported_where_the_system_provides_it():
    code = (
        "from jaxseg.utils.usage import peak_process_memory, processor_seconds\n"
        "before = processor_seconds()\n"
        "big = bytes(range(256)) * 400_000\n"
        "print(peak_process_memory(), processor_seconds() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    memory, seconds = map(float, done.stdout.split())
    assert 100e6 < memory < 100e9 and 0 < seconds < 60
