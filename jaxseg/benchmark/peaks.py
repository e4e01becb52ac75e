"""Peak performance of devices, from the data sheets of their makers."""

import re
from typing import NamedTuple

import jax


class Chip(NamedTuple):
    """Data sheet of a device; for a TPU of one chip, which is one JAX device.

    Attributes:
      name: name for `--compile-for`.
      device_kind: regular expression for JAX's `device_kind`.
      bfloat16: peak operations per second of matrix products, without structured sparsity.
      float32: the same in XLA's default for float32 products: TF32 on NVIDIA GPUs, bfloat16 on
        TPUs.
      bandwidth: bytes per second of the main memory.
      memory: bytes of the main memory.
      clock: for a TPU, cycles per second, the unit of its compiler's estimates: `bfloat16` divided
        by the operations of its matrix units per cycle (2 × 128 × 128 each, v6e 2 × 256 × 256).
        0: not a TPU.
      source: source of these numbers.
    """

    name: str
    device_kind: str
    bfloat16: float
    float32: float
    bandwidth: float
    memory: float
    clock: float
    source: str

    @property
    def is_tpu(self) -> bool:
        """Whether it is a TPU."""
        return self.device_kind.startswith("TPU")

    def flops(self, dtype: str) -> float | None:
        """Operations per second in "bfloat16" or "float32"; None for another dtype."""
        return {"bfloat16": self.bfloat16, "float32": self.float32}.get(dtype)


_T, _G, _GIB = 1e12, 1e9, 2.0**30
_TPU = "https://cloud.google.com/tpu/docs/"
_NVIDIA = "https://www.nvidia.com/en-us/data-center/"

# The first whose name is part of the device's kind is used.
CHIPS = (
    # A TPU's page gives HBM in GB, and means 2^30 bytes.
    Chip("v4", "TPU v4", 275 * _T, 275 * _T, 1228 * _G, 32 * _GIB, 1.05e9, _TPU + "v4"),
    Chip("v5e", "TPU v5 lite", 197 * _T, 197 * _T, 819 * _G, 16 * _GIB, 1.5e9, _TPU + "v5e"),
    Chip("v5p", "TPU v5", 459 * _T, 459 * _T, 2765 * _G, 95 * _GIB, 1.75e9, _TPU + "v5p"),
    Chip("v6e", "TPU v6 lite", 918 * _T, 918 * _T, 1638 * _G, 32 * _GIB, 1.75e9, _TPU + "v6e"),
    # Memory of the next four as reported by CUDA. A100 80GB SXM
    Chip("a100", "A100", 312 * _T, 156 * _T, 2039 * _G, 85.1 * _G, 0, _NVIDIA + "a100/"),
    Chip("h100-pcie", "H100 PCIe", 756.5 * _T, 378 * _T, 2000 * _G, 80 * _G, 0, _NVIDIA + "h100/"),
    # H100 SXM
    Chip("h100", "H100", 989.4 * _T, 494.7 * _T, 3350 * _G, 84.9 * _G, 0, _NVIDIA + "h100/"),
    Chip("h200", "H200", 989.4 * _T, 494.7 * _T, 4800 * _G, 151.4 * _G, 0, _NVIDIA + "h200/"),
    # an eighth of HGX B200
    Chip("b200", "B200", 2250 * _T, 1125 * _T, 8000 * _G, 191.5 * _G, 0, _NVIDIA + "hgx/"),
    Chip("l40s", "L40S", 362.05 * _T, 183 * _T, 864 * _G, 48 * _G, 0, _NVIDIA + "l40s/"),
    Chip("l4", "L4", 121 * _T, 60 * _T, 300 * _G, 24 * _G, 0, _NVIDIA + "l4/"),
)
"""The devices with known peaks."""

ROOFLINES = ("v4", "v5e", "v5p", "v6e", "a100", "h100", "h200", "b200")
"""The devices for which rooflines of a compiled program are listed."""


def chip(name: str) -> Chip:
    """The device with that name.

    >>> chip("v5e").memory / 2**30
    16.0
    """
    return next(c for c in CHIPS if c.name == name)


def chip_of(device: jax.Device) -> Chip | None:
    """The data sheet of a device; None for a CPU or an unlisted device."""
    for found in CHIPS:
        if re.search(rf"\b{found.device_kind}\b", device.device_kind):
            return found
    return None


def peak_flops(device: jax.Device, dtype: str) -> float | None:
    """Peak floating point operations per second of a device; None if unknown.

    It is unknown for a CPU, because it depends on the clock, which varies with heat and load.

    >>> peak_flops(jax.devices("cpu")[0], "float32") is None
    True
    """
    found = chip_of(device)
    return None if found is None else found.flops(dtype)
