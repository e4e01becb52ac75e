"""Checks a machine before a run: what is missing or wrong, with fixes."""

import glob
import importlib.metadata
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxseg.data import open_data
from jaxseg.distributed.devices import device_memory, devices_in_words
from jaxseg.errors import InputError
from jaxseg.utils.access import reason
from jaxseg.utils.usage import available_memory, usable_processors

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_ROOM = 5 * 2**30  # bytes that the checkpoints of a run may need
_SIDE = 1024  # size of the matrices for the test product


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
      name: name of the check.
      state: "ok"; "warning": a run works; or "wrong": it does not.
      text: description of the result.
      remedy: the fix; "" if none is needed.
    """

    name: str
    state: str
    text: str
    remedy: str = ""


def examine(
    workdir: pathlib.Path, data: ml_collections.ConfigDict | None = None
) -> Iterator[Finding]:
    """Runs the checks one after the other; each takes about a second.

    Args:
      workdir: output folder of the planned run.
      data: config of a run whose data set is opened; None: no check of data.
    """
    yield _versions()
    devices = _devices()
    yield devices
    if devices.state != "wrong":
        yield from _guarded("product", _product)
        yield from _guarded("sum over devices", _sum_over_devices)
    yield _memory()
    yield from _guarded("workdir", lambda: _writable(workdir))
    yield _compiled_programs()
    if data is not None:
        yield from _guarded("data", lambda: _data(data))


def _guarded(name: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    """Runs a check, and turns any exception into a finding."""
    try:
        yield check()
    except InputError as error:
        yield Finding(name, "wrong", error.problem, error.remedy)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        yield Finding(
            name,
            "wrong",
            f"{type(error).__name__}: {first}",
            "Check whether another program uses the device.",
        )


def _versions() -> Finding:
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    text = f"Python {platform.python_version()}, " + ", ".join(f"{n} {v}" for n, v in found.items())
    if found["jax"].split(".")[:2] != found["jaxlib"].split(".")[:2]:
        return Finding("versions", "wrong", text, "Install the same version of jax and jaxlib.")
    return Finding("versions", "ok", text)


def _devices() -> Finding:
    wanted = os.environ.get("JAX_PLATFORMS", "")
    try:
        words = devices_in_words()
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        return Finding(
            "devices",
            "wrong",
            f"JAX_PLATFORMS is {wanted!r}, but JAX finds no such device ({first})",
            f"{_extra(wanted)}, or unset JAX_PLATFORMS.",
        )
    if jax.process_count() > 1:
        words += f" of {jax.process_count()} processes"
    unused = "" if jax.devices()[0].platform != "cpu" else _hardware()
    if unused:
        return Finding(
            "devices",
            "wrong" if not wanted else "warning",
            f"{words}, but this machine has a {unused}",
            f"{_extra('tpu' if unused == 'TPU' else 'cuda')}. Set "
            f"JAX_PLATFORMS={'tpu' if unused == 'TPU' else 'cuda'} so that a run fails without "
            "the device.",
        )
    return Finding("devices", "ok", ", ".join([words, *_driver()]))


def _extra(platform_name: str) -> str:
    extra = "tpu" if "tpu" in platform_name else "cuda"
    return f"Run pip install 'jaxseg[{extra}]'"


def _hardware() -> str:
    """ "GPU" or "TPU" if the system has one, whether JAX sees it or not; otherwise ""."""
    if glob.glob("/dev/accel*") or os.environ.get("TPU_WORKER_ID"):
        return "TPU"
    if glob.glob("/dev/nvidia[0-9]*"):
        return "GPU"
    return ""


def _driver() -> list[str]:
    """The version of NVIDIA's driver, if there is one."""
    program = shutil.which("nvidia-smi")
    if program is None or jax.devices()[0].platform not in ("gpu", "cuda"):
        return []
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    version = done.stdout.strip().partition("\n")[0]
    return [f"driver {version}"] if done.returncode == 0 and version else []


def _product() -> Finding:
    """Compares a matrix product with NumPy's."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, _SIDE, _SIDE)).astype(np.float32)
    multiply = jax.jit(jnp.matmul)
    got = np.asarray(multiply(a, b))
    want = a.astype(np.float64) @ b.astype(np.float64)
    error = float(np.abs(got - want).max() / np.abs(want).max())
    turns = 10
    left, right = jax.device_put(a), jax.device_put(b)
    begun = time.perf_counter()
    for _ in range(turns):
        out = multiply(left, right)
    out.block_until_ready()
    rate = 2 * _SIDE**3 * turns / (time.perf_counter() - begun)
    text = f"{_SIDE}×{_SIDE} in float32: {rate / 1e9:,.0f} GFLOP/s, error {error:.0e}"
    if not error < 3e-2:
        return Finding("product", "wrong", text, "The device gives wrong results; use another one.")
    if error > 1e-4:  # a TPU multiplies in bfloat16, a GPU in TF32
        return Finding(
            "product",
            "ok",
            text + ": the device rounds products, as TPUs and GPUs do",
            "config.model.matmul_precision='highest' computes them in full precision, but more "
            "slowly.",
        )
    return Finding("product", "ok", text)


def _sum_over_devices() -> Finding:
    """Sums the indices of all devices; every device must get the same result."""
    devices = jax.devices()
    mesh = jax.make_mesh((len(devices),), ("d",), (jax.sharding.AxisType.Auto,), devices=devices)
    split = NamedSharding(mesh, PartitionSpec("d"))
    numbers = jax.make_array_from_callback(
        (len(devices),), split, lambda index: np.arange(len(devices))[index]
    )
    total = jax.jit(jnp.sum, out_shardings=NamedSharding(mesh, PartitionSpec()))(numbers)
    got, want = int(total.addressable_data(0)), len(devices) * (len(devices) - 1) // 2
    if got != want:
        return Finding(
            "sum over devices",
            "wrong",
            f"{got} instead of {want}",
            "Check the connection between the devices.",
        )
    return Finding("sum over devices", "ok", f"{len(devices)} device(s) agree")


def _memory() -> Finding:
    host, device = available_memory(), device_memory()
    parts = [] if host is None else [f"{host / 2**30:.1f} GiB free on the host"]
    if device is not None and jax.devices()[0].platform != "cpu":
        parts.append(f"{device / 2**30:.1f} GiB on each device")
    parts.append(f"{usable_processors()} processors")
    if host is not None and host < 2 * 2**30:
        return Finding("memory", "warning", ", ".join(parts), "Stop other programs.")
    return Finding("memory", "ok", ", ".join(parts))


def _writable(workdir: pathlib.Path) -> Finding:
    above = next(p for p in [workdir.absolute(), *workdir.absolute().parents] if p.is_dir())
    try:
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(b"0" * 2**20)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(
            "workdir",
            "wrong",
            f"{above} cannot be written: {reason(error)}",
            "Give a --workdir that you can write to.",
        )
    free = shutil.disk_usage(above).free
    text = f"{above} can be written, {free / 2**30:.1f} GiB free"
    if free < _ROOM:
        return Finding(
            "workdir", "warning", text, "Checkpoints may fill the disk; free some space."
        )
    return Finding("workdir", "ok", text)


def _compiled_programs() -> Finding:
    folder = jax.config.jax_compilation_cache_dir
    if folder is None:
        return Finding(
            "compiled programs",
            "warning",
            "are not cached: each start compiles again",
            "Set JAX_COMPILATION_CACHE_DIR to a writable folder, or to gs://BUCKET/PATH for all "
            "hosts.",
        )
    return Finding("compiled programs", "ok", f"are cached in {folder}")


def _data(config: ml_collections.ConfigDict) -> Finding:
    counts = []
    begun = time.perf_counter()
    for split in ("train", "eval"):
        source = open_data(config.data, split, config.seed)
        if not len(source):
            raise InputError(
                f"The {split} split of {config.data.name} has no images.", "Check its lists."
            )
        source[0]
        counts.append(f"{len(source):,} {'training' if split == 'train' else 'evaluation'} images")
    seconds = time.perf_counter() - begun
    return Finding("data", "ok", f"{config.data.name}: {', '.join(counts)} ({seconds:.1f} s)")


def in_words(finding: Finding) -> str:
    """The result as a line, with a second line for the fix, if any."""
    sign = {"ok": "ok      ", "warning": "warning ", "wrong": "WRONG   "}[finding.state]
    line = f"{sign} {finding.name}: {finding.text}"
    return f"{line}\n          {finding.remedy}" if finding.remedy else line
