"""The picture of photo, truth, prediction and error."""

import numpy as np
import pytest

from jaxseg.data import DataInfo
from jaxseg.visualization.palette import colorize
from jaxseg.visualization.panel import comparison

INFO = DataInfo("pets", ("ground", "cat"), ((10, 20, 30), (200, 100, 0)))
RED, PALE = (220, 30, 30), (235, 235, 235)


def row(height, width):
    image = np.full((height, width, 3), 80, np.uint8)
    label = np.zeros((height, width), np.uint8)
    label[:, width // 2 :] = 1
    label[-2:] = 255
    return image, label, np.zeros_like(label)


def test_colours():
    colours = colorize(np.array([[0, 1, 255]], np.uint8), INFO)
    assert colours.dtype == np.uint8
    assert colours.tolist() == [[[10, 20, 30], [200, 100, 0], [235, 235, 235]]]


def test_columns():
    """At double size, each column shows the image named in its title."""
    picture = np.asarray(comparison([row(20, 40)], INFO, height=40))
    assert picture.dtype == np.uint8 and picture.shape[1] == 4 * 80 + 5 * 8

    def pixel(column, y, x):
        return tuple(picture[26 + 2 * y, 8 + column * 88 + 2 * x])

    left, right, ignored = (5, 5), (5, 35), (19, 5)
    assert pixel(0, *left) == pixel(0, *right) == pixel(0, *ignored) == (80, 80, 80)
    assert (pixel(1, *left), pixel(1, *right)) == ((10, 20, 30), (200, 100, 0))
    assert pixel(1, *ignored) == pixel(3, *ignored) == PALE
    assert pixel(2, *left) == pixel(2, *right) == (10, 20, 30)
    assert pixel(3, *right) == RED
    grey = pixel(3, *left)
    assert grey[0] == grey[1] == grey[2] != 235


@pytest.mark.parametrize("sizes", [[(20, 40), (40, 20), (7, 9)], [(1, 1)]])
def test_images_of_different_sizes(sizes):
    rows = [row(*size) for size in sizes]
    before = [tuple(a.copy() for a in r) for r in rows]
    picture = comparison(rows, INFO, height=32)
    widest = max(round(32 * width / height) for height, width in sizes)
    assert picture.mode == "RGB" and picture.width == 4 * widest + 5 * 8
    assert picture.height >= 26 + len(sizes) * (32 + 8)
    for old, new in zip(before, rows, strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)


def test_many_classes_wrap_their_legend():
    names = tuple(f"a class with a long name {i}" for i in range(30))
    info = DataInfo("many", names, tuple((i, i, 255 - i) for i in range(30)))
    few = comparison([row(20, 40)], INFO, height=60)
    many = comparison([row(20, 40)], info, height=60)
    assert many.width == few.width and many.height > few.height + 10 * 22
    colours = {tuple(c) for c in np.asarray(many).reshape(-1, 3)}
    assert colours >= {(i, i, 255 - i) for i in range(30)} | {RED, PALE}
