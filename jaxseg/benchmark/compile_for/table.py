"""What `compile_for` found, as lines for a person."""

import re
from collections.abc import Mapping
from typing import Any

# Steps of JAX's path that name no layer
_OF_JAX = re.compile(
    r"jit\(|jvp\(|transpose\(|cond$|branch_\d|while$|body$|closed_call$|checkpoint$"
)


def compile_for_table(result: Mapping[str, Any]) -> str:
    """Lays out what `compile_for` returns: what it is, time, memory, kernels, the dearest."""
    lines = [_title(result), ""]
    memory = result["memory_bytes"]
    if "bytes" not in result:
        needed = f"{memory['needed'] / 1e9:.2f} GB of " if memory["needed"] else ""
        return "\n".join([*lines, f"does not fit: {needed}{memory['chip'] / 1e9:.1f} GB"])
    lines += _pairs(_figures(result))
    lines += ["", "roofline, the same operations and bytes on another chip"]
    lines += _grid(
        [["", "operations", "bytes", "milliseconds at least"]]
        + [
            [
                name,
                f"{bound['flops_milliseconds']:.1f}",
                f"{bound['bytes_milliseconds']:.1f}",
                f"{max(bound['flops_milliseconds'], bound['bytes_milliseconds']):.1f}",
            ]
            for name, bound in result["rooflines"].items()
        ]
    )
    lines += ["", "the dearest instructions"]
    lines += _grid(
        [["ms", "share", "MB", "GFLOP", "times", "kind", "result", "where"]]
        + [
            [
                f"{row['milliseconds']:.2f}" + ("" if row["told_by_compiler"] else "~"),
                f"{row['share']:.1%}",
                f"{row['bytes'] / 1e6:,.1f}",
                f"{row['flops'] / 1e9:,.1f}",
                str(row["times"]),
                row["kind"],
                _short(row["result"], 44),
                f"{row['line'] or '?'} {_place(row['op_name'])}",
            ]
            for row in result["dearest"]
        ]
    )
    return "\n".join(line.rstrip() for line in lines)


def _title(result: Mapping[str, Any]) -> str:
    height, width = result["image_size"]
    many = "" if result["devices"] == 1 else f", over {result['devices']} devices"
    return (
        f"{result['what']} step of {result['network']} for {result['target']}: "
        f"{result['batch_size']}×{height}×{width}, {result['dtype']}{many}, jax {result['jax']}"
    )


def _figures(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    memory, bound = result["memory_bytes"], result["roofline"]
    by_flops, by_bytes = bound["flops_milliseconds"], bound["bytes_milliseconds"]
    rows = []
    if "milliseconds" in result:
        rows += [
            ("time by the compiler's cycles", f"{result['milliseconds']:.1f} ms"),
            ("  of it without its word", f"{result['milliseconds_not_told']:.1f} ms"),
            ("images a second", f"{result['images_per_second']:.0f}"),
            ("share of peak", f"{result['share_of_peak']:.1%}"),
        ]
    else:
        rows += [
            ("time at least, kernel by kernel", f"{result['milliseconds_at_least']:.1f} ms"),
            ("images a second at most", f"{result['images_per_second_at_most']:.0f}"),
        ]
    rows += [
        (
            "operations",
            f"{result['flops'] / 1e9:,.0f} GFLOP ({by_flops:.1f} ms)",
        ),
        ("bytes moved", f"{result['bytes'] / 1e9:.2f} GB ({by_bytes:.1f} ms)"),
        (
            "memory",
            f"{memory['total'] / 1e9:.2f} GB: arguments {memory['argument'] / 1e9:.2f}, "
            f"temporaries {memory['temporary'] / 1e9:.2f}"
            + (f"; peak {memory['peak'] / 1e9:.2f}" if "peak" in memory else ""),
        ),
        (
            "fits",
            f"{'yes' if result['fits'] else 'NO'}, {memory['usable'] / 1e9:.1f} GB are usable",
        ),
        ("launches", f"{result['launches']:,}"),
    ]
    rows += [(f"  {name}", f"{count:,}") for name, count in list(result["kernels"].items())[:8]]
    for name, entry in result["watched"].items():
        rows.append(
            (name, f"{entry['count']}, the largest of {entry['largest'] / 1e6:.2f} M elements")
        )
    types = result["convolutions"]["types"]
    rows += [(name, str(count)) for name, count in types.items()]
    if result["convolutions"]["widest_window"]:
        rows.append(("widest window", str(result["convolutions"]["widest_window"])))
    for name, entry in result["collectives"].items():
        rows.append((name, f"{entry['count']}, {entry['bytes'] / 1e6:,.1f} MB"))
    if result["loops_of_unknown_length"]:
        rows.append(
            ("counted once", f"{result['loops_of_unknown_length']} in loops of unknown length")
        )
    rows.append(
        (
            "tracing, compiling",
            f"{result['trace_seconds']:.0f} s, {result['compile_seconds']:.0f} s",
        )
    )
    return rows


def _place(op_name: str) -> str:
    """The end of JAX's path, where the layer's name stands, and whether it is of a gradient."""
    parts = [p for p in op_name.split("/") if p]
    way = "∇ " if any(p.startswith("transpose(") for p in parts) else ""
    named = [p for p in parts if not _OF_JAX.match(p)]
    return way + _short("/".join(named[-3:]), 60)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _pairs(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _grid(rows: list[list[str]]) -> list[str]:
    """Columns as wide as their widest cell; numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = [all(cell[:1].isdigit() or not cell for cell in column) for column in _columns(rows)]
    return [
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, right, strict=True)
        )
        for row in rows
    ]


def _columns(rows: list[list[str]]) -> list[list[str]]:
    return [[row[i] for row in rows[1:]] for i in range(len(rows[0]))]
