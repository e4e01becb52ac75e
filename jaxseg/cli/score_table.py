"""Scores as a table for the terminal."""

import math
from collections.abc import Mapping
from typing import Any

_SUMMARY = {
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_iou": "mean IoU",
    "frequency_weighted_iou": "frequency-weighted IoU",
}


def score_table(scores: Mapping[str, Any]) -> str:
    """Lays out what `jaxseg.metrics.scores` returns, one line a score and one a class.

    Args:
      scores: the four means, `iou` per class (NaN or None: the class is absent from truth and
        prediction) and, if known, `class_names` in the same order.

    >>> means = dict(pixel_accuracy=0.9, mean_accuracy=0.8, mean_iou=0.75)
    >>> scores = dict(
    ...     means, frequency_weighted_iou=0.85, iou=[0.75, None], class_names=["sky", "car"]
    ... )
    >>> print(score_table(scores))
    pixel accuracy          0.9000
    mean accuracy           0.8000
    mean IoU                0.7500
    frequency-weighted IoU  0.8500
    <BLANKLINE>
    IoU of each class
      sky                   0.7500
      car                   absent
    absent classes (1 of 2) are left out of the means
    """
    lines = [f"{title:<22}  {_number(scores[key])}" for key, title in _SUMMARY.items()]
    iou = [_number(value) for value in scores["iou"]]
    names = scores.get("class_names") or [f"class {k}" for k in range(len(iou))]
    lines += ["", "IoU of each class"]
    lines += [f"  {name:<20}  {value}" for name, value in zip(names, iou, strict=True)]
    if "absent" in iou:
        count = f"{iou.count('absent')} of {len(iou)}"
        lines.append(f"absent classes ({count}) are left out of the means")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "absent" if value is None or math.isnan(value) else f"{value:.4f}"
