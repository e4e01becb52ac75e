"""Draws image, truth, prediction and error side by side."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from jaxseg.data.shown import shown
from jaxseg.data.source import DataInfo
from jaxseg.visualization.fonts import drawable
from jaxseg.visualization.palette import IGNORED, colorize
from jaxseg.visualization.sheet import INK, PAPER, sheet

_WRONG = (220, 30, 30)


def comparison(
    rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], info: DataInfo, height: int = 240
) -> Image.Image:
    """A table of pictures: a row per image, with columns for image, truth, prediction and error.

    Args:
      rows: (image for `shown`, label uint8 [H, W], prediction uint8 [H, W]) triples.
      info: the classes, for colours and the legend.
      height: height in pixels to which each image is scaled.

    Returns:
      An RGB image. In the error column, wrong pixels are red, correct ones show the image in grey,
      and ignored ones are light grey, as in the truth.
    """
    titles = ("photo", "truth", "prediction", "error")
    return sheet(
        [
            [("" if line else title, tile) for title, tile in zip(titles, tiles, strict=True)]
            for line, tiles in enumerate(_tiles(*row, info) for row in rows)
        ],
        height,
        lambda width: legend(info, width),
    )


def _tiles(image, label, prediction, info):
    image = shown(image)
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None] // 2 + 110
    error = np.broadcast_to(grey, image.shape).astype(np.uint8).copy()
    error[prediction != label] = _WRONG
    error[label == info.ignore_label] = IGNORED
    return image, colorize(label, info), colorize(prediction, info), error


def legend(info: DataInfo, width: int, *, errors: bool = True) -> Image.Image:
    """Coloured squares with class names, wrapped to `width`; with `errors`, also for "wrong"."""
    entries = [*zip(info.class_names, info.palette, strict=True), ("ignored", IGNORED)]
    if errors:
        entries.append(("wrong", _WRONG))
    texts = [drawable(name, 13) for name, _ in entries]
    places, x, y = [], 0, 4
    for text, font in texts:
        wide = 26 + round(font.getlength(text))
        if x + wide > width:
            x, y = 0, y + 22
        places.append((x, y))
        x += wide
    page = Image.new("RGB", (width, y + 26), PAPER)
    draw = ImageDraw.Draw(page)
    for (_, color), (text, font), (x, y) in zip(entries, texts, places, strict=True):
        draw.rectangle((x, y, x + 14, y + 14), color, outline=(160, 160, 160))
        draw.text((x + 19, y + 7), text, INK, font, anchor="lm")
    return page
