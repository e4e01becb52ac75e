"""Formats the results of `compile_for` as text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxseg.utils.text_table import aligned

# parts of JAX's path that are not names of layers
_OF_JAX = re.compile(r"jit\(|jvp\(|transpose\(|branch_\d|(cond|while|body|closed_call|checkpoint)$")
_KERNELS = 8  # maximum number of kinds in the list
_Row = tuple[str, str]


def compile_for_table(result: Mapping[str, Any]) -> str:
    """Formats the result of `compile_for`: time, memory, kernels, rooflines, top instructions."""
    lines = [_title(result), ""]
    if "bytes" not in result:
        return "\n".join([*lines, *_pairs(_too_large(result))])
    lines += _pairs([*_time(result), *_memory(result), *_made_of(result)])
    if "bytes" in result.get("beside", {}):
        lines += ["", "comparison with the same network in plain Flax and Optax"]
        lines += _grid(_comparison(result, result["beside"]))
    lines += ["", "lower bounds for other chips, with the same operations and bytes"]
    lines += _grid(_rooflines(result))
    if result["dearest"]:
        lines += [
            "",
            "the most expensive instructions (~: not estimated by the compiler; ∇: part of a "
            "gradient)",
        ]
        lines += _grid(_dearest(result))
    return "\n".join(line.rstrip() for line in lines)


def _title(result: Mapping[str, Any]) -> str:
    height, width = result["image_size"]
    many = "" if result["devices"] == 1 else f" over {result['devices']} devices"
    return (
        f"{result['what']} step of {result['network']} for {result['target']}: "
        f"{result['batch_size']}×{height}×{width}{many}, {result['dtype']}, jax {result['jax']}"
    )


def _too_large(result: Mapping[str, Any]) -> list[_Row]:
    memory = result["memory_bytes"]
    needed = f"{memory['needed'] / 1e9:.2f} GB needed, " if memory["needed"] else ""
    return [("fits", f"NO, {needed}{memory['chip'] / 1e9:.1f} GB available")]


def _time(result: Mapping[str, Any]) -> list[_Row]:
    bound = result["roofline"]
    if "milliseconds" in result:
        rows = [
            ("time, compiler estimate", f"{result['milliseconds']:.1f} ms"),
            ("  without compiler estimate", f"{result['milliseconds_not_told']:.1f} ms"),
            ("images a second", f"{result['images_per_second']:.0f}"),
            ("share of the peak", f"{result['share_of_peak']:.1%}"),
        ]
    else:
        rows = [
            ("time, lower bound", f"{result['milliseconds_at_least']:.1f} ms"),
            ("images per second at most", f"{result['images_per_second_at_most']:.0f}"),
        ]
    flops = f"{result['flops'] / 1e9:,.0f} GFLOP, {bound['flops_milliseconds']:.1f} ms at the peak"
    moved = f"{result['bytes'] / 1e9:.2f} GB, {bound['bytes_milliseconds']:.1f} ms at the peak"
    return [*rows, ("operations", flops), ("bytes moved", moved)]


def _memory(result: Mapping[str, Any]) -> list[_Row]:
    memory = result["memory_bytes"]
    parts = [f"{name}s {memory[key] / 1e9:.2f}" for name, key in _PARTS]
    if "peak" in memory:
        parts.append(f"peak {memory['peak'] / 1e9:.2f}")
    answer = "yes" if result["fits"] else "NO"
    return [
        ("memory", f"{memory['total'] / 1e9:.2f} GB: {', '.join(parts)}"),
        ("fits", f"{answer}, {memory['usable'] / 1e9:.1f} GB usable"),
    ]


_PARTS = (("argument", "argument"), ("temporary value", "temporary"))


def _made_of(result: Mapping[str, Any]) -> list[_Row]:
    rows = [("launches", f"{result['launches']:,}")]
    kernels = list(result["kernels"].items())
    rows += [(f"  {name}", f"{count:,}") for name, count in kernels[:_KERNELS]]
    for name, entry in result["watched"].items():
        largest = f"the largest of {entry['largest'] / 1e6:.2f} M elements"
        rows.append((name, f"{entry['count']}, {largest}"))
    convolutions = result["convolutions"]
    rows += [(name, str(count)) for name, count in convolutions["types"].items()]
    rows += [(f"  float32 in {line}", str(n)) for line, n in convolutions["float32_lines"].items()]
    if convolutions["widest_window"]:
        rows.append(("widest window of a convolution", str(convolutions["widest_window"])))
    again = result["recomputed"]
    if again["convolutions"]:
        early = f", {again['early']} before the gradients" if again["early"] else ""
        rows.append(("recomputed convolutions", f"{again['convolutions']}{early}"))
    for name, entry in result["collectives"].items():
        rows.append((name, f"{entry['count']}, {entry['bytes'] / 1e6:,.1f} MB"))
    unknown = result["loops_of_unknown_length"]
    if unknown:
        rows.append(("in loops of unknown length", f"{unknown}, counted once"))
    seconds = (result["trace_seconds"], result["compile_seconds"])
    return [*rows, ("tracing, compiling", "{:.0f} s, {:.0f} s".format(*seconds))]


def _rooflines(result: Mapping[str, Any]) -> list[list[str]]:
    rows = [["", "operations", "bytes", "ms"]]
    for name, bound in result["rooflines"].items():
        times = (bound["flops_milliseconds"], bound["bytes_milliseconds"])
        rows.append([name, *(f"{t:.1f}" for t in (*times, max(times)))])
    return rows


def _comparison(ours: Mapping[str, Any], plain: Mapping[str, Any]) -> list[list[str]]:
    """The figures of both forms, and their ratio plain / jaxseg."""
    time = "milliseconds" if "milliseconds" in ours else "milliseconds_at_least"
    figures = (
        ("ms" if time == "milliseconds" else "ms at least", lambda r: r[time], "{:.1f}"),
        ("GFLOP", lambda r: r["flops"] / 1e9, "{:,.0f}"),
        ("GB moved", lambda r: r["bytes"] / 1e9, "{:.2f}"),
        ("GB of memory", lambda r: r["memory_bytes"]["total"] / 1e9, "{:.2f}"),
        ("GB of temporary values", lambda r: r["memory_bytes"]["temporary"] / 1e9, "{:.2f}"),
        ("launches", lambda r: r["launches"], "{:,}"),
    )
    rows = [["", "jaxseg", "plain", "plain / jaxseg"]]
    for name, get, form in figures:
        values = (get(ours), get(plain))
        share = f"{values[1] / values[0]:.2f}" if values[0] else ""
        rows.append([name, *map(form.format, values), share])
    return rows


def _dearest(result: Mapping[str, Any]) -> list[list[str]]:
    rows = [["ms", "share", "MB", "GFLOP", "times", "kind", "result", "line", "layer"]]
    for row in result["dearest"]:
        rows.append(
            [
                f"{row['milliseconds']:.2f}" + ("" if row["told_by_compiler"] else "~"),
                f"{row['share']:.1%}",
                f"{row['bytes'] / 1e6:,.1f}",
                f"{row['flops'] / 1e9:,.1f}",
                str(row["times"]),
                row["kind"],
                _short(row["result"], 36),
                row["line"] or "?",
                _place(row["op_name"]),
            ]
        )
    return rows


def _place(op_name: str) -> str:
    """The end of JAX's path, which contains the layer's name, with a mark for gradients."""
    parts = [part for part in op_name.split("/") if part]
    way = "∇ " if any(part.startswith("transpose(") for part in parts) else ""
    named = [part for part in parts if not _OF_JAX.match(part)]
    return way + _short("/".join(named[-3:]), 60)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _pairs(rows: Sequence[_Row]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _grid(rows: list[list[str]]) -> list[str]:
    """Columns as wide as their widest cell; numbers are right-aligned."""
    columns = list(zip(*rows, strict=True))
    right = {
        index
        for index, column in enumerate(columns)
        if all(cell[:1].isdigit() or not cell for cell in column[1:])
    }
    return aligned(rows, right)
