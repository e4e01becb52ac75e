"""What devices can do at most, by their makers' data sheets."""

import re

import jax

# (a part of the device's name, {dtype: 10^12 floating point operations a second}), without
# structured sparsity. For float32 that is what XLA computes it in by default: TF32 on NVIDIA's,
# bfloat16 on TPUs. The first part that is found counts.
_PEAKS = (
    # NVIDIA's data sheets of H200 and H100 (SXM, then PCIe), A100, L40S, L4
    ("H200", {"bfloat16": 989.4, "float32": 494.7}),
    ("H100 PCIe", {"bfloat16": 756.5, "float32": 378.0}),
    ("H100", {"bfloat16": 989.4, "float32": 494.7}),
    ("A100", {"bfloat16": 312.0, "float32": 156.0}),
    ("L40S", {"bfloat16": 362.05, "float32": 183.0}),
    ("L4", {"bfloat16": 121.0, "float32": 60.0}),
    # cloud.google.com/tpu/docs/v6e, v5p, v5e, v4: of a chip, which is one device there
    ("TPU v6 lite", {"bfloat16": 918.0, "float32": 918.0}),
    ("TPU v5 lite", {"bfloat16": 197.0, "float32": 197.0}),
    ("TPU v5", {"bfloat16": 459.0, "float32": 459.0}),
    ("TPU v4", {"bfloat16": 275.0, "float32": 275.0}),
)


def peak_flops(device: jax.Device, dtype: str) -> float | None:
    """Floating point operations a second of a device at most; None where that is not known.

    A CPU's is never known: it depends on the clock, which moves with heat and load.

    >>> peak_flops(jax.devices("cpu")[0], "float32") is None
    True
    """
    for part, peaks in _PEAKS:
        if re.search(rf"\b{part}\b", device.device_kind) and dtype in peaks:
            return peaks[dtype] * 1e12
    return None
