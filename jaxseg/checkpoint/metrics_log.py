"""Reads a run's metrics.jsonl line by line."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any


def log_lines(path: pathlib.Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Each line with its line ending, and its entry; None for a truncated or foreign line.

    A killed run may leave a truncated line. A missing log has no lines.
    """
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        yield line, entry if _is_ours(entry) else None


def _is_ours(entry: Any) -> bool:
    if not isinstance(entry, dict) or type(entry.get("step")) is not int:
        return False
    needed = {"train": "loss", "eval": "mean_iou"}.get(str(entry.get("kind")))
    return needed in entry and all(isinstance(v, int | float | str) for v in entry.values())


def left_out(path: pathlib.Path, lines: int) -> str:
    """The message for lines without an entry."""
    return f"{path}: ignored {lines} truncated or foreign line(s)"
