"""Plots a learning-rate range test: the loss against the rate, with a logarithmic axis."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from jaxseg.visualization.fonts import drawable
from jaxseg.visualization.sheet import INK, PAPER

_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = (640, 400), 64, 24, 24, 56
_PALE, _LINE, _MARK = (200, 205, 212), (30, 90, 180), (200, 70, 30)


def rate_plot(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
) -> Image.Image:
    """The losses as dots, their moving mean as a line, the suggested rate as a vertical line.

    Args:
      rates: increasing, above 0.
      losses, smoothed: one value per rate; finite.
      suggestion: a rate, or None.

    Returns:
      An RGB image of 640×400 pixels.
    """
    image = Image.new("RGB", _SIZE, PAPER)
    draw = ImageDraw.Draw(image)
    low, high = (math.log10(rates[i]) for i in (0, -1))
    bottom = min(float(np.percentile(losses, 5)), *smoothed)
    top = max(float(np.percentile(losses, 90)), bottom * 1.05)
    bottom -= 0.05 * (top - bottom)

    def x_of(rate: float) -> float:
        part = (math.log10(rate) - low) / max(high - low, 1e-9)
        return _LEFT + part * (_SIZE[0] - _LEFT - _RIGHT)

    def y_of(loss: float) -> float:
        part = min(max((loss - bottom) / (top - bottom), 0.0), 1.0)
        return _SIZE[1] - _BOTTOM - part * (_SIZE[1] - _TOP - _BOTTOM)

    def text(x: float, y: float, words: str, anchor: str) -> None:
        shown, font = drawable(words, 13)
        draw.text((x, y), shown, fill=INK, font=font, anchor=anchor)

    floor = _SIZE[1] - _BOTTOM
    for exponent in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1):
        x = x_of(10.0**exponent)
        draw.line([(x, _TOP), (x, floor)], fill=_PALE)
        text(x, floor + 8, f"1e{exponent}", "ma")
    for part in np.linspace(0, 1, 5):
        loss = bottom + part * (top - bottom)
        draw.line([(_LEFT, y_of(loss)), (_SIZE[0] - _RIGHT, y_of(loss))], fill=_PALE)
        text(_LEFT - 8, y_of(loss), f"{loss:.3g}", "rm")
    for rate, loss in zip(rates, losses, strict=True):
        x, y = x_of(rate), y_of(loss)
        draw.ellipse([x - 1.5, y - 1.5, x + 1.5, y + 1.5], fill=(150, 165, 190))
    line = [(x_of(r), y_of(s)) for r, s in zip(rates, smoothed, strict=True)]
    draw.line(line, fill=_LINE, width=2)
    if suggestion is not None and rates[0] <= suggestion <= rates[-1]:
        x = x_of(suggestion)
        draw.line([(x, _TOP), (x, floor)], fill=_MARK, width=2)
        text(x + 6, _TOP + 4, f"{suggestion:g}", "la")
    text((_LEFT + _SIZE[0] - _RIGHT) / 2, _SIZE[1] - 22, "learning rate", "ma")
    text(_LEFT, 4, "loss", "la")
    return image
