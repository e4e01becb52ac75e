"""Topologies by name: devices that are not present, for compilation."""

import importlib.util
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jaxseg.benchmark.peaks import Chip, chip
from jaxseg.errors import InputError, nearest

_TARGETS = pathlib.Path(__file__).parent / "targets"
TPUS = ("v4", "v5e", "v5p", "v6e")
GPUS = tuple(sorted(path.stem for path in _TARGETS.glob("*.txtpb")))
_HINT = "Write tpu:v5e:2x2 (chips in rows and columns) or cuda:h200:4 (number of GPUs)."

# Without a device, autotuning is impossible: cuDNN uses its first algorithm, and products use
# cuBLAS. Triton finds no tiles for float32 products at the highest precision in this mode.
_CUDA_OPTIONS = {"xla_gpu_autotune_level": "0", "xla_gpu_enable_triton_gemm": False}
_TPU_ENVIRONMENT = {  # libtpu queries the machine, which has no TPU
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # otherwise a second process fails at libtpu's lock file
}
_TPU_TYPES = {"v4": "v4-8", "v5e": "v5litepod-4", "v5p": "v5p-8", "v6e": "v6e-4"}


class Topology(NamedTuple):
    """Devices to compile for.

    Attributes:
      name: as given, such as "tpu:v5e:2x2".
      chip: peak performance of a device.
      devices: all devices; they can compile, but not run programs.
      options: options of the compiler.
    """

    name: str
    chip: Chip
    devices: Sequence[jax.Device]
    options: dict[str, Any]


def open_topology(name: str) -> Topology:
    """Opens `tpu:KIND[:ROWSxCOLUMNS]` or `cuda:KIND[:NUMBER]`; the default is one device.

    Afterwards, CPUs are the only real devices of the process.

    Raises:
      InputError: there is no such topology, or its compiler is not installed.
    """
    platform, _, rest = name.partition(":")
    kind, _, size = rest.partition(":")
    kinds = {"tpu": TPUS, "cuda": GPUS}.get(platform)
    if kinds is None:
        raise InputError(f"'{platform}' is not a supported platform.", _HINT)
    if kind not in kinds:
        raise InputError(f"'{kind}' is not a supported {platform.upper()}.", nearest(kind, kinds))
    _only_cpus()
    if platform == "tpu":
        return Topology(name, chip(kind), _tpus(kind, size, name), {})
    return Topology(name, chip(kind), _gpus(kind, size, name), dict(_CUDA_OPTIONS))


def _only_cpus() -> None:
    """Keeps JAX from searching devices: an installed libtpu would wait for its chips."""
    jax.config.update("jax_platforms", "cpu")


def _tpus(kind: str, size: str, name: str) -> Sequence[jax.Device]:
    if importlib.util.find_spec("libtpu") is None:
        raise _missing("tpu", "the TPU compiler libtpu", "tpu-compiler")
    for key, value in _TPU_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", _TPU_TYPES[kind])
    sides = size.split("x") if size else []
    if not all(side.isdigit() and int(side) for side in sides):
        raise InputError(f"'{size}' in {name} is not a grid of chips.", _HINT)
    one = all(side == "1" for side in sides)  # also if no size is given
    host = "2x2x1" if kind in ("v4", "v5p") else "2x2"  # the smallest supported topology
    devices = _described(name, platform="tpu", topology_name=f"{kind}:{host if one else size}")
    return devices[:1] if one else devices


def _gpus(kind: str, size: str, name: str) -> Sequence[jax.Device]:
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if not any(importlib.util.find_spec(plugin) for plugin in plugins):
        raise _missing("cuda", "the CUDA plugin for JAX", "cuda-compiler")
    if size and not (size.isdigit() and int(size)):
        raise InputError(f"'{size}' in {name} is not a number of GPUs.", _HINT)
    return _described(
        name,
        platform="cuda",
        topology_name="gpu",
        target_config=(_TARGETS / f"{kind}.txtpb").read_text(encoding="utf-8"),
        topology=f"1x1x{size or 1}",
    )


def _described(name: str, **description: str) -> Sequence[jax.Device]:
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(**description).devices
    except Exception as error:  # XLA's own types, or a RuntimeError of the plugin
        first = str(error).partition("\n")[0]
        raise InputError(f"{name} cannot be opened: {first}", _HINT) from error


def _missing(platform: str, what: str, extra: str) -> InputError:
    return InputError(
        f"Compiling for {platform} needs {what}, which is not installed.",
        f"Run pip install 'jaxseg[{extra}]' in a separate environment; no device is needed.",
    )
