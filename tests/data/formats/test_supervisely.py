"""Supervisely's projects: bitmaps, polygons with holes, rectangles."""

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image
from tool_sets import data, only, photo, put

from jaxseg.data import open_data
from jaxseg.data.check import check_data
from jaxseg.errors import InputError

SQUARE = [[3, 2], [8, 2], [8, 7], [3, 7]]


def shape(kind, label="cat", **more):
    return {"classTitle": label, "geometryType": kind} | more


def polygon(exterior, *interior, label="cat"):
    return shape("polygon", label, points={"exterior": exterior, "interior": list(interior)})


def bitmap(bits, origin, alpha: bool):
    """A bitmap as the tool packs it: an RGBA PNG with the mask in its alpha, or a grey PNG."""
    grey = np.asarray(bits, np.uint8) * 255
    pixels = np.dstack([np.full((*grey.shape, 3), 9, np.uint8), grey]) if alpha else grey
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    packed = base64.b64encode(zlib.compress(file.getvalue())).decode()
    return shape("bitmap", bitmap={"data": packed, "origin": list(origin)})


def project(root, *shapes, sets=("one",), stem="a"):
    classes = [{"title": name, "shape": "any", "color": "#ff0000"} for name in ("dog", "cat")]
    put(root / "meta.json", {"classes": classes, "tags": []})
    for number, name in enumerate(sets):
        photo(root / name / "img" / f"{stem}.png", seed=number)
        about = {"size": {"height": 12, "width": 20}, "objects": list(shapes), "tags": []}
        put(root / name / "ann" / f"{stem}.png.json", about)


def test_shapes_cover_what_they_outline(tmp_path):
    want = np.zeros((12, 20), bool)
    want[2:8, 3:9] = True
    for made in (
        polygon(SQUARE),
        shape("rectangle", points={"exterior": [[3, 2], [8, 7]], "interior": []}),
        bitmap(np.ones((6, 6)), (3, 2), alpha=True),
        bitmap(np.ones((6, 6)), (3, 2), alpha=False),
    ):
        project(tmp_path, made)
        np.testing.assert_array_equal(only("supervisely", tmp_path) == 2, want)
    project(tmp_path, bitmap([[1, 0], [1, 1]], (18, 10), alpha=True))
    assert (only("supervisely", tmp_path)[10:, 18:] == [[2, 0], [2, 2]]).all()


def test_holes_and_the_order_of_the_file(tmp_path):
    hole = [[5, 4], [6, 4], [6, 5], [5, 5]]
    project(
        tmp_path, polygon([[0, 0], [19, 0], [19, 11], [0, 11]], label="dog"), polygon(SQUARE, hole)
    )
    label = only("supervisely", tmp_path)
    assert (label[3, 4], label[4, 5], label[0, 0]) == (2, 1, 1)  # the dog shows through the hole
    want = np.ones((12, 20), np.uint8)
    want[2:8, 3:9] = 2
    want[4:6, 5:7] = 1
    np.testing.assert_array_equal(label, want)


def test_data_sets_are_splits_or_parts(tmp_path):
    project(tmp_path, polygon(SQUARE), sets=("train", "val"))
    source = open_data(data("supervisely", tmp_path), "train")
    assert (len(source), source.info.class_names) == (1, ("background", "dog", "cat"))
    project(tmp_path / "parts", polygon(SQUARE), sets=("monday", "tuesday"))
    found = open_data(data("supervisely", tmp_path / "parts", split="1:0"), "train")
    assert [found.name(i) for i in range(2)] == ["monday/a", "tuesday/a"]


def test_what_cannot_be_used_is_named(tmp_path):
    cut = bitmap(np.ones((6, 6)), (3, 2), alpha=True)
    cut["bitmap"]["data"] = cut["bitmap"]["data"][:20]
    project(tmp_path, polygon(SQUARE[:2]), shape("point", points={"exterior": [[1, 1]]}), cut)
    photo(tmp_path / "one/img/b.png", seed=5)
    put(tmp_path / "one/ann/c.png.json", {"size": {"height": 12, "width": 20}, "objects": []})
    found = check_data(data("supervisely", tmp_path, split="1:0"), ["train"])
    texts = " ".join(p.text for p in found.problems)
    for words in ("2 point(s), but needs 3", "is a 'point'", "damaged bitmap", "b.png has no annot",
                  "c.png, which"):  # fmt: skip
        assert words in texts
    (tmp_path / "meta.json").unlink()
    with pytest.raises(InputError, match=r"There is no .*meta\.json"):
        open_data(data("supervisely", tmp_path), "train")
