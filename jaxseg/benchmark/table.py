"""Formats the numbers of a benchmark for the terminal."""

from collections.abc import Mapping
from typing import Any

_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def benchmark_table(result: Mapping[str, Any]) -> str:
    """Formats the result of `benchmark`, one number per line.

    >>> print(
    ...     benchmark_table({"network": "x", "peak_flops": None, "program_bytes": {"output": 2e6}})
    ... )
    network                       x
    peak flops                    unknown
    program bytes, output         2.00 M
    """
    lines = []
    for name, value in result.items():
        name = name.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [(f"{name}, {key}", _text(name, v)) for key, v in value.items()]
        else:
            lines.append((name, _text(name, value)))
    return "\n".join(f"{name:<28}  {text}" for name, text in lines)


def _text(name: str, value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, list):
        return "×".join(map(str, value))
    if "share" in name:
        return f"{value:.1%}"
    if "bytes" in name or "flops" in name or name == "parameters":
        scale, unit = next((s for s in _SCALES if abs(value) >= s[0]), _SCALES[-1])
        return f"{value / scale:.2f} {unit}".strip()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
