"""Arranges pictures in rows, with captions."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from jaxseg.visualization.fonts import drawable

INK, PAPER = (30, 30, 30), (255, 255, 255)
_GAP, _CAPTION = 8, 18


def sheet(
    rows: Sequence[Sequence[tuple[str, np.ndarray]]],
    height: int,
    footer: Callable[[int], Image.Image] | None = None,
) -> Image.Image:
    """A page of captioned pictures.

    Args:
      rows: rows of (caption, picture uint8 [H, W, 3]); a row with only empty captions has no
        caption line.
      height: height in pixels to which each picture is scaled.
      footer: returns the picture at the bottom, for a width in pixels.

    Returns:
      An RGB image.
    """
    tiles = [[_fit(picture, height) for _, picture in row] for row in rows]
    lines = [_CAPTION if any(caption for caption, _ in row) else 0 for row in rows]
    column = max(tile.width for row in tiles for tile in row)
    width = max(map(len, rows)) * (column + _GAP) + _GAP
    below = footer(width - 2 * _GAP) if footer else None
    total = sum(line + height + _GAP for line in lines) + (below.height + _GAP if below else 0)
    page = Image.new("RGB", (width, total + _GAP), PAPER)
    draw, y = ImageDraw.Draw(page), _GAP
    for row, pictures, line in zip(rows, tiles, lines, strict=True):
        for i, ((caption, _), picture) in enumerate(zip(row, pictures, strict=True)):
            x = _GAP + i * (column + _GAP)
            text, font = drawable(caption, 13)
            draw.text((x, y), text, INK, font)
            page.paste(picture, (x, y + line))
        y += line + height + _GAP
    if below:
        page.paste(below, (_GAP, y))
    return page


def _fit(array: np.ndarray, height: int) -> Image.Image:
    image = Image.fromarray(array)
    size = round(image.width * height / image.height), height
    return image.resize(size, Image.Resampling.NEAREST)
