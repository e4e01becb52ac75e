"""Line charts as SVG, with colours from the page's style."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_WIDTH, _HEIGHT = 380, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 10, 34


class Series(NamedTuple):
    """A line of a chart."""

    name: str
    run: int  # index of the run that defines its colour
    x: Sequence[float]
    y: Sequence[float]


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    *,
    smooth: bool = False,
    unit: bool = False,
) -> str:
    """A chart with one line per series; a series of one point is a dot.

    Args:
      title: the title above the chart.
      series: x and y, both 0 or more; points with a y that is not finite are left out.
      x_label: the label of the x axis, which ends at the largest x.
      smooth: whether to draw the moving mean, with the values in a faint colour.
      unit: whether the y axis goes from 0 to 1.
    """
    kept = [
        s._replace(x=[float(x) for x, ok in zip(s.x, np.isfinite(s.y), strict=True) if ok],
                   y=[float(y) for y in s.y if math.isfinite(y)])
        for s in series
    ]  # fmt: skip
    kept = [s for s in kept if s.x]
    if not kept:
        return ""
    xs = [x for s in kept for x in s.x]
    ys = [y for s in kept for y in s.y]
    end = max(xs) or 1.0
    x_ticks = [tick for tick in _ticks(end, 5) if tick <= end]
    y_ticks = [0, 0.2, 0.4, 0.6, 0.8, 1.0] if unit else _ticks(max(ys), 5)

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = x / end, y / y_ticks[-1]
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = []
    for tick in y_ticks:
        x, y = at(0, tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" class="end">{_short(tick)}</text>')
    for tick in x_ticks:
        x, y = at(tick, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 15:.1f}" class="middle">{_short(tick)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 4}" class="middle">{html.escape(x_label)}</text>'
    )
    for s in kept:
        points = [at(x, y) for x, y in zip(s.x, s.y, strict=True)]
        if len(points) == 1:
            x, y = points[0]
            parts.append(f'<circle class="run{s.run} dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>')
            continue
        if smooth and len(points) > 20:
            parts.append(f'<path class="run{s.run} faint" d="{_path(points)}"/>')
            means = _moving_mean(np.array(s.y), max(3, len(points) // 12))
            points = [at(x, y) for x, y in zip(s.x, means.tolist(), strict=True)]
        parts.append(f'<path class="run{s.run} line" d="{_path(points)}"/>')
        if not smooth and len(points) <= 20:
            parts += [
                f'<circle class="run{s.run} dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
                for x, y in points
            ]
    told = "; ".join(f"{s.name} from {s.y[0]:.3g} to {s.y[-1]:.3g}" for s in kept)
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(f"{title} by {x_label}: {told}")}">{"".join(parts)}</svg>'
        "</figure>"
    )


def _ticks(high: float, count: int) -> list[float]:
    """About `count` round numbers from 0 to `high` or slightly above.

    >>> _ticks(1.13, 5)
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    """
    raw = high / count if high > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= 0.999 * raw)
    return [round(k * step, 12) for k in range(max(math.ceil(high / step - 1e-9), 1) + 1)]


def _short(value: float) -> str:
    """A short form of a number.

    >>> _short(1500.0), _short(0.25), _short(0.0005)
    ('1500', '0.25', '5e-4')
    """
    if value and abs(value) < 0.001:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.10g}"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of the values around each, with fewer values near the ends."""
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
