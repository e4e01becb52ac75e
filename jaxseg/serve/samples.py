"""Images drawn by code, to try a network on."""

import functools
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jaxseg.data import Scenes

SIZE = (384, 512)  # (height, width)
NAMES = ("street", "scene-0", "scene-1", "scene-2")


@functools.cache
def sample(name: str) -> bytes:
    """Draws an image, and returns it as a PNG.

    Args:
      name: one of `NAMES`: a street, or a scene of textured shapes as in
        `config.data.name="scenes"`.
    """
    image = _street() if name == "street" else _scene(int(name.partition("-")[2]))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _scene(index: int) -> Image.Image:
    return Image.fromarray(Scenes(7, len(NAMES), SIZE, stream="eval")[index].image)


def _street() -> Image.Image:
    """Draws a road between houses and trees, with cars and people, under a sky."""
    height, width = SIZE
    rng = np.random.default_rng(3)
    horizon, middle = 170, width // 2
    sky = np.linspace((128, 170, 215), (214, 226, 236), horizon)
    ground = np.linspace((120, 116, 110), (150, 146, 140), height - horizon)
    rows = np.concatenate([sky, ground]).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(rows[:, None], (height, width, 3)).copy())
    draw = ImageDraw.Draw(image)
    road = [(middle - 22, horizon), (middle + 22, horizon), (width - 40, height), (40, height)]
    draw.polygon(road, fill=(84, 86, 90))
    for k in range(9):  # the line in the middle, with longer parts in front
        near, far = ((k + part) / 9 for part in (0.55, 0.0))
        y0, y1 = (horizon + (height - horizon) * t**1.7 for t in (far, near))
        half = 1 + 5 * near**2
        draw.polygon(
            [(middle - half, y1), (middle + half, y1), (middle + half * 0.7, y0)]
            + [(middle - half * 0.7, y0)],
            fill=(226, 226, 218),
        )
    for side in (-1, 1):
        for k in range(4):  # houses, the far ones first
            near = (k + 1) / 4
            x0 = middle + side * (26 + 200 * near**1.6)
            x1 = x0 + side * (40 + 60 * near)
            top, bottom = horizon - 40 - 110 * near, horizon + 4 + 66 * near**1.6
            left, right = sorted((x0, x1))
            wall = rng.integers(110, 190, 3)
            draw.rectangle((left, top, right, bottom), fill=tuple(wall.tolist()))
            pane = 5 + 9 * near
            for y in np.arange(top + pane, bottom - 2 * pane, 2.2 * pane):
                for x in np.arange(left + pane / 2, right - pane, 2 * pane):
                    draw.rectangle((x, y, x + pane, y + 1.3 * pane), fill=(70, 82, 98))
        for k in range(3):  # trees
            near = (k + 1) / 3
            x, foot = middle + side * (34 + 165 * near**1.7), horizon + 6 + 84 * near**1.6
            tall = 40 + 90 * near
            draw.rectangle((x - 3 * near, foot - tall, x + 3 * near, foot), fill=(86, 66, 50))
            for _ in range(26):
                dx, dy, r = rng.normal(0, 13 * near), rng.normal(0, 14 * near), 5 + 10 * near
                green = (40 + rng.integers(40), 88 + rng.integers(50), 44 + rng.integers(20))
                box = (x + dx - r, foot - tall + dy - r, x + dx + r, foot - tall + dy + r)
                draw.ellipse(box, fill=tuple(map(int, green)))
    for x, foot, scale, paint in (
        (middle + 46, 262, 0.8, (150, 36, 40)),
        (middle - 30, 208, 0.35, (36, 70, 130)),
        (middle - 92, 322, 1.25, (206, 206, 210)),
    ):
        w, h = 74 * scale, 44 * scale
        draw.ellipse((x - w / 2, foot - 5 * scale, x + w / 2, foot + 5 * scale), fill=(58, 60, 62))
        draw.rounded_rectangle(
            (x - w / 2, foot - h * 0.62, x + w / 2, foot - 3 * scale), 6 * scale, fill=paint
        )
        draw.polygon(
            [(x - w * 0.36, foot - h * 0.6), (x - w * 0.26, foot - h)]
            + [(x + w * 0.26, foot - h), (x + w * 0.36, foot - h * 0.6)],
            fill=(52, 62, 74),
        )
        for s in (-1, 1):
            lamp = x + s * w * 0.38
            draw.ellipse(
                (lamp - 4 * scale, foot - h * 0.5, lamp + 4 * scale, foot - h * 0.34),
                fill=(200, 60, 50),
            )
            wheel = x + s * w * 0.32
            draw.rectangle(
                (wheel - 6 * scale, foot - 8 * scale, wheel + 6 * scale, foot + 3 * scale),
                fill=(28, 28, 30),
            )
    for x, foot, scale in ((432, 300, 1.0), (392, 262, 0.7), (84, 296, 0.95)):
        coat = tuple(rng.integers(40, 160, 3).tolist())
        draw.rectangle((x - 6 * scale, foot - 26 * scale, x - scale, foot), fill=(44, 46, 60))
        draw.rectangle((x + scale, foot - 26 * scale, x + 6 * scale, foot), fill=(44, 46, 60))
        draw.rounded_rectangle(
            (x - 9 * scale, foot - 54 * scale, x + 9 * scale, foot - 24 * scale), 4, fill=coat
        )
        draw.ellipse(
            (x - 6 * scale, foot - 68 * scale, x + 6 * scale, foot - 55 * scale),
            fill=(206, 164, 136),
        )
    image = image.filter(ImageFilter.GaussianBlur(0.8))
    grain = rng.normal(0, 5, (height, width, 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
