"""Lower bounds of a device's time: operations at its peak, bytes at its bandwidth."""

from jaxseg.benchmark.peaks import ROOFLINES, Chip, chip


def roofline(chip: Chip, dtype: str, flops: float, moved: float) -> dict[str, float | str]:
    """The lower bounds of the time on one device.

    Args:
      chip: the device.
      dtype: dtype of the products.
      flops: operations per device.
      moved: bytes per device.

    >>> roofline(chip("v5e"), "bfloat16", 197e9, 819e6)
    {'flops_milliseconds': 1.0, 'bytes_milliseconds': 1.0, 'bound': 'flops'}
    """
    by_flops = flops / (chip.flops(dtype) or chip.float32) * 1000
    by_bytes = moved / chip.bandwidth * 1000
    return {
        "flops_milliseconds": by_flops,
        "bytes_milliseconds": by_bytes,
        "bound": "flops" if by_flops >= by_bytes else "bytes",
    }


def rooflines(dtype: str, flops: float, moved: float) -> dict[str, dict[str, float | str]]:
    """`roofline` on each device of `ROOFLINES`, if its compiler moved the same number of bytes."""
    return {name: roofline(chip(name), dtype, flops, moved) for name in ROOFLINES}
