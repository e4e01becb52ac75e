"""One picture that shows photo, truth, prediction and error side by side."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxseg.data.source import DataInfo

_GAP, _TITLE, _INK, _PAPER = 8, 26, (30, 30, 30), (255, 255, 255)
_IGNORED, _WRONG = (235, 235, 235), (220, 30, 30)


def comparison(
    rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], info: DataInfo, height: int = 240
) -> Image.Image:
    """A table of pictures: a row for each image; columns photo, truth, prediction and error.

    Args:
      rows: (image uint8 [H, W, 3], label uint8 [H, W], prediction uint8 [H, W]) triples.
      info: the classes, for colours and the legend.
      height: pixels that each image's height is scaled to.

    Returns:
      An RGB image. In the error column wrong pixels are red, right ones show the photo in grey, and
      ignored ones are pale, as they are in the truth.
    """
    tiles = [[_fit(tile, height) for tile in _tiles(*row, info)] for row in rows]
    width = max(tile.width for row in tiles for tile in row)
    total = 4 * width + 5 * _GAP
    legend = _legend(info, total - 2 * _GAP)
    page = Image.new(
        "RGB", (total, _TITLE + len(tiles) * (height + _GAP) + legend.height + _GAP), _PAPER
    )
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for column, title in enumerate(("photo", "truth", "prediction", "error")):
        draw.text((_GAP + column * (width + _GAP), 5), title, _INK, font)
    for line, row in enumerate(tiles):
        for column, tile in enumerate(row):
            page.paste(tile, (_GAP + column * (width + _GAP), _TITLE + line * (height + _GAP)))
    page.paste(legend, (_GAP, page.height - legend.height))
    return page


def colorize(labels: np.ndarray, info: DataInfo) -> np.ndarray:
    """Label indices [H, W] as colours, uint8 [H, W, 3]; ignored pixels are pale."""
    table = np.full((256, 3), _IGNORED, np.uint8)
    table[: info.num_classes] = info.palette
    return table[labels]


def _tiles(image, label, prediction, info):
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None] // 2 + 110
    error = np.broadcast_to(grey, image.shape).astype(np.uint8).copy()
    error[prediction != label] = _WRONG
    error[label == info.ignore_label] = _IGNORED
    return image, colorize(label, info), colorize(prediction, info), error


def _fit(array: np.ndarray, height: int) -> Image.Image:
    image = Image.fromarray(array)
    return image.resize(
        (round(image.width * height / image.height), height), Image.Resampling.NEAREST
    )


def _legend(info: DataInfo, width: int) -> Image.Image:
    """Coloured squares with class names, wrapped to `width`."""
    font = ImageFont.load_default(13)
    entries = [*zip(info.class_names, info.palette, strict=True), ("ignored", _IGNORED)]
    entries.append(("wrong", _WRONG))
    places, x, y = [], 0, 4
    for name, _ in entries:
        wide = 26 + round(font.getlength(name))
        if x + wide > width:
            x, y = 0, y + 22
        places.append((x, y))
        x += wide
    page = Image.new("RGB", (width, y + 26), _PAPER)
    draw = ImageDraw.Draw(page)
    for (name, color), (x, y) in zip(entries, places, strict=True):
        draw.rectangle((x, y, x + 14, y + 14), color, outline=(160, 160, 160))
        draw.text((x + 19, y - 1), name, _INK, font)
    return page
