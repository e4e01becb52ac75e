"""The rasteriser: converts outlines to pixels as the tools of each format do.

Polygons of COCO, and of tools whose own exports use COCO's rules (CVAT, Label Studio, YOLO), are
filled as in pycocotools; shapes of LabelMe are drawn with Pillow, as in LabelMe.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

_SCALE = 5  # pycocotools steps along an outline in fifths of a pixel


class Polygons(NamedTuple):
    """The union of polygons, minus holes; each is float64 [N, 2], (x, y) in pixels.

    A polygon that intersects itself is filled by the even-odd rule.
    """

    parts: Sequence[np.ndarray]
    holes: Sequence[np.ndarray] = ()

    def mask(self, height: int, width: int) -> np.ndarray:
        filled = np.zeros((height, width), bool)
        for points in self.parts:
            filled |= fill(points, height, width)
        for points in self.holes:
            filled &= ~fill(points, height, width)
        return filled


def fill(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels of a polygon, equal to pycocotools' rleFrPoly, bool [height, width].

    Args:
      points: float64 [N, 2], (x, y) in pixels; (0, 0) is the outer corner of the first pixel.

    >>> fill(np.array([[1, 0], [3, 0], [3, 2], [1, 2]], float), 2, 4).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    x, y = np.trunc(_SCALE * points + 0.5).astype(np.int64).T
    u, v = _walk(x, y, np.roll(x, -1), np.roll(y, -1))
    steps = np.flatnonzero(u[1:] != u[:-1]) + 1
    column = (np.where(u[steps] < u[steps - 1], u[steps], u[steps] - 1) + 0.5) / _SCALE - 0.5
    row = (np.minimum(v[steps], v[steps - 1]) + 0.5) / _SCALE - 0.5
    inside = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    column, row = column[inside].astype(np.int64), np.ceil(np.clip(row[inside], 0, height))
    # each crossing switches between outside and inside, in the rest of its column and beyond
    turns = np.bincount(column * height + row.astype(np.int64), minlength=height * width)
    filled = np.cumsum(turns[: height * width]) & 1
    return filled.astype(bool).reshape(width, height).T


def _walk(x, y, x_end, y_end) -> tuple[np.ndarray, np.ndarray]:
    """The points along all edges in order, one step apart along the longer side."""
    across, down = np.abs(x_end - x), np.abs(y_end - y)
    flat = across >= down
    back = np.where(flat, x > x_end, y > y_end)
    x, x_end = np.where(back, x_end, x), np.where(back, x, x_end)
    y, y_end = np.where(back, y_end, y), np.where(back, y, y_end)
    length = np.maximum(across, down)
    slope = np.where(flat, y_end - y, x_end - x) / np.maximum(length, 1)
    edge = np.repeat(np.arange(len(x)), length + 1)
    t = np.arange(len(edge)) - np.repeat(np.cumsum(length + 1) - length - 1, length + 1)
    t = np.where(back[edge], length[edge] - t, t)
    along = np.where(flat, x, y)[edge] + t
    aside = np.trunc(np.where(flat, y, x)[edge] + slope[edge] * t + 0.5).astype(np.int64)
    return np.where(flat[edge], along, aside), np.where(flat[edge], aside, along)


class Figure(NamedTuple):
    """A LabelMe shape with its outline: "polygon", "rectangle", "circle", "line" or "point"."""

    kind: str
    points: np.ndarray  # float64 [N, 2]; for a circle: its centre and a point on it
    size: float = 0  # width of a line or radius of a point, in pixels

    def mask(self, height: int, width: int) -> np.ndarray:
        canvas = Image.new("1", (width, height))
        draw = ImageDraw.Draw(canvas)
        corners = [(float(x), float(y)) for x, y in self.points]
        if self.kind == "polygon":
            draw.polygon(corners, outline=1, fill=1)
        elif self.kind == "line":
            draw.line(corners, fill=1, width=round(self.size))
        elif self.kind == "rectangle":
            draw.rectangle((*self.points.min(0), *self.points.max(0)), outline=1, fill=1)
        else:
            x, y = corners[0]
            radius = math.dist(*corners) if self.kind == "circle" else self.size
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
        return np.asarray(canvas)


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> np.ndarray:
    """An ellipse as a polygon of 72 points, float64 [72, 2]."""
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return turned_about(np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], 1), (x, y), degrees)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """A rectangle as a polygon, float64 [4, 2]."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def turned_about(points: np.ndarray, centre: tuple[float, float], degrees: float) -> np.ndarray:
    """Points rotated clockwise, as seen in an image, about `centre`."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre
