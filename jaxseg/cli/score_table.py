"""Prints metrics as a table on the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_SUMMARY = {
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_iou": "mean IoU",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "mean_dice": "mean Dice",
    "mean_boundary_iou": "mean boundary IoU",
}
_COLUMNS = {
    "accuracy": "accuracy",
    "iou": "IoU",
    "dice": "Dice",
    "boundary_iou": "boundary",
    "share": "pixels",
}
_ABSENT = {
    "nan": "left out of the means (nan)",
    "zero": "counted 0 in the means (zero)",
    "one": "counted 1 in the means (one)",
}


def score_table(scores: Mapping[str, Any]) -> str:
    """Formats `jaxseg.metrics.scores`: a line per mean, a row per class.

    Args:
      scores: the means, the lists over classes (NaN or None: the class is absent), `absent` and,
        if known, `class_names` in the same order and the `protocol` of the evaluation.

    >>> scores = {"mean_iou": 0.75, "iou": [0.75, None], "share": [1.0, 0.0], "absent": "nan"}
    >>> print(score_table(scores | {"class_names": ["sky", "car"], "protocol": "whole"}))
    mean IoU                0.7500
    <BLANKLINE>
    class                    IoU    pixels
      sky                 0.7500   100.00%
      car                 absent     0.00%
    absent classes: left out of the means (nan)
    protocol: whole
    """
    lines = [f"{title:<22}  {scores[key]:.4f}" for key, title in _SUMMARY.items() if key in scores]
    columns = {title: scores[key] for key, title in _COLUMNS.items() if key in scores}
    names = scores.get("class_names") or [f"class {k}" for k in range(len(scores["iou"]))]
    width = max(16, *map(len, names))
    lines += ["", _row(f"{'class':<{width + 2}}", columns)]
    for i, name in enumerate(names):
        values = [_number(title, column[i]) for title, column in columns.items()]
        lines.append(_row(f"  {name:<{width}}", values))
    lines.append(f"absent classes: {_ABSENT[scores['absent']]}")
    if "published" in scores:
        about = scores["published"]
        of = about["on"] or "the validation split, single scale"
        lines.insert(_place(scores), f"{'published':<22}  {about['mean_iou']:.4f}  ({of})")
    if "protocol" in scores:
        lines.append(f"protocol: {scores['protocol']}")
    return "\n".join(lines)


def _place(scores: Mapping[str, Any]) -> int:
    """The index of the line after the mean IoU."""
    return [key for key in _SUMMARY if key in scores].index("mean_iou") + 1


def _row(name: str, cells: Sequence[str] | Mapping[str, Any]) -> str:
    return name + "".join(f"  {cell:>8}" for cell in cells)


def _number(title: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "absent"
    return f"{value:.2%}" if title == "pixels" else f"{value:.4f}"
