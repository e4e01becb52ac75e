"""A confusion matrix as an SVG heat map, with colours from the page's style."""

import html
from collections.abc import Sequence

import numpy as np

_CELL, _SMALL_CELL = 26, 12
_MANY = 24  # with more classes, cells are small and have no numbers
_DEEP = 0.74  # share above which a cell is so dark that its number has the opposite colour
_LETTER = 6.1  # width in pixels of a letter at 11 pixels
_LONGEST = 18  # maximum number of letters of a class name beside the matrix


def confusion_chart(confusion: np.ndarray, class_names: Sequence[str]) -> str:
    """A confusion matrix as a heat map of shares; each row adds up to 1.

    Args:
      confusion: [C, C] integers, row = truth. A row of zeros stays empty.
      class_names: C names.
    """
    classes = len(class_names)
    numbers = classes <= _MANY
    cell = _CELL if numbers else _SMALL_CELL
    letters = min(max(map(len, class_names)), _LONGEST)
    edge = round(letters * _LETTER) + 8
    size = edge + classes * cell + 2
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    parts = [
        f'<rect class="frame" x="{edge}" y="{edge}" width="{classes * cell}" '
        f'height="{classes * cell}"/>'
    ]
    for i, name in enumerate(class_names):
        short = html.escape(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")
        middle = edge + (i + 0.5) * cell + 4
        parts.append(f'<text x="{edge - 5}" y="{middle:g}" class="end">{short}</text>')
        parts.append(
            f'<text transform="translate({middle:g} {edge - 5}) rotate(-90)">{short}</text>'
        )
    for row, column in np.argwhere(shares >= 0.005).tolist():  # smaller shares round to 0 %
        share, x, y = shares[row, column], edge + column * cell, edge + row * cell
        told = f"{class_names[row]} seen as {class_names[column]}: {share:.1%}"
        parts.append(
            f'<rect class="cell" x="{x}" y="{y}" width="{cell}" height="{cell}" '
            f'fill-opacity="{0.06 + 0.94 * share:.3f}"><title>{html.escape(told)}</title></rect>'
        )
        if numbers and share >= 0.015:
            parts.append(
                f'<text class="middle{" on" if share > _DEEP else ""}" x="{x + cell / 2:g}" '
                f'y="{y + cell / 2 + 3.5:g}">{100 * share:.0f}</text>'
            )
    mistakes = "; ".join(
        f"{a} as {b} {share:.0%}" for a, b, share in worst_confusions(confusion, class_names)
    )
    label = html.escape(f"Confusion matrix, the largest confusions: {mistakes}")
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">'
        f'<svg class="matrix" viewBox="0 0 {size} {size}" style="min-width: {0.8 * size:.0f}px; '
        f'max-width: {1.3 * size:.0f}px" '
        f'aria-hidden="true">{"".join(parts)}</svg></div>'
    )


def worst_confusions(
    confusion: np.ndarray, class_names: Sequence[str], count: int = 3
) -> list[tuple[str, str, float]]:
    """The largest shares of a class predicted as another: (truth, prediction, share).

    >>> worst_confusions(np.array([[3, 1], [6, 2]]), ["cat", "dog"])
    [('dog', 'cat', 0.75), ('cat', 'dog', 0.25)]
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:count]
    cells = [(int(k) // len(class_names), int(k) % len(class_names)) for k in order]
    return [
        (class_names[row], class_names[column], float(shares[row, column]))
        for row, column in cells
        if shares[row, column] > 0
    ]
