"""What devices can do at most, by their makers' data sheets."""

import re
from typing import NamedTuple

import jax


class Chip(NamedTuple):
    """A device as its maker describes it; of a TPU one chip, which is one device of JAX.

    Attributes:
      name: as `--compile-for` takes it.
      device_kind: a regular expression that finds it in JAX's `device_kind`.
      bfloat16: floating point operations a second, products of matrices, no structured sparsity.
      float32: in what XLA multiplies float32 by default: TF32 on NVIDIA's, bfloat16 on TPUs.
      bandwidth: bytes a second of its main memory.
      memory: bytes of it.
      clock: of a TPU, turns a second: `bfloat16` over the products that its matrix units do in a
        turn (each 2 × 128 × 128, v6e 2 × 256 × 256): the unit of its compiler's cycles. 0: none.
      source: where these numbers are from.
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
        """Operations a second in "bfloat16" or "float32"; None for another type."""
        return {"bfloat16": self.bfloat16, "float32": self.float32}.get(dtype)


_T, _G, _GIB = 1e12, 1e9, 2.0**30
_TPU = "https://cloud.google.com/tpu/docs/"
_NVIDIA = "https://www.nvidia.com/en-us/data-center/"

# Of two that are found in a device's kind the first counts.
CHIPS = (
    # Of HBM a TPU's page says GB and means 2^30 bytes.
    Chip("v4", "TPU v4", 275 * _T, 275 * _T, 1228 * _G, 32 * _GIB, 1.05e9, _TPU + "v4"),
    Chip("v5e", "TPU v5 lite", 197 * _T, 197 * _T, 819 * _G, 16 * _GIB, 1.5e9, _TPU + "v5e"),
    Chip("v5p", "TPU v5", 459 * _T, 459 * _T, 2765 * _G, 95 * _GIB, 1.75e9, _TPU + "v5p"),
    Chip("v6e", "TPU v6 lite", 918 * _T, 918 * _T, 1638 * _G, 32 * _GIB, 1.75e9, _TPU + "v6e"),
    # Memory of the next four as CUDA tells it. A100 80GB SXM
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
"""The devices whose peaks are known."""

ROOFLINES = ("v4", "v5e", "v5p", "v6e", "a100", "h100", "h200", "b200")
"""Those that a compiled program is set beside."""


def chip(name: str) -> Chip:
    """The device of that name.

    >>> chip("v5e").memory / 2**30
    16.0
    """
    return next(c for c in CHIPS if c.name == name)


def chip_of(device: jax.Device) -> Chip | None:
    """What is known of a device; None for a CPU, and for one that is not listed."""
    for found in CHIPS:
        if re.search(rf"\b{found.device_kind}\b", device.device_kind):
            return found
    return None


def peak_flops(device: jax.Device, dtype: str) -> float | None:
    """Floating point operations a second of a device at most; None where that is not known.

    A CPU's is never known: it depends on the clock, which moves with heat and load.

    >>> peak_flops(jax.devices("cpu")[0], "float32") is None
    True
    """
    found = chip_of(device)
    return None if found is None else found.flops(dtype)
