"""LabelMe JSON: files next to photos, and files that contain their photo."""

import base64
import io
import shutil

import numpy as np
import pytest
from PIL import Image
from tool_sets import data, only, photo, put

from jaxseg.data import open_data
from jaxseg.data.check import check_data
from jaxseg.errors import InputError

SHAPES = {
    "polygon": [[1, 1], [7.5, 2], [6, 9]],
    "rectangle": [[8, 9], [2, 3]],
    "circle": [[9, 6], [12, 7]],
    "linestrip": [[2, 2], [10, 8], [18, 2]],
    "line": [[2, 2], [10, 8]],
    "point": [[9, 6]],
    "oriented_rectangle": [[5, 1], [9, 5], [5, 9], [1, 5]],
}


def shape(label="cat", points=SHAPES["polygon"], kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "flags": {}} | more


def labelme(root, *shapes, stem="a", **more):
    photo(root / f"{stem}.png")
    contents = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{stem}.png",
                "imageData": None, "imageHeight": 12, "imageWidth": 20} | more  # fmt: skip
    return put(root / f"{stem}.json", contents)


def test_shapes_are_drawn_as_labelme_draws_them(tmp_path):
    utils = pytest.importorskip("labelme.utils.shape", reason="pip install labelme")
    for kind, points in SHAPES.items():
        labelme(tmp_path, shape(points=points, kind=kind))
        expected = utils.shape_to_mask((12, 20), points, kind)
        np.testing.assert_array_equal(only("labelme", tmp_path) == 1, expected, kind)


def test_each_kind_of_shape_covers_its_inside(tmp_path):
    for kind, (x, y) in {"rectangle": (5, 5), "circle": (10, 6), "point": (9, 6),
                         "linestrip": (10, 8), "polygon": (5, 4)}.items():  # fmt: skip
        labelme(tmp_path, shape(points=SHAPES[kind], kind=kind))
        label = only("labelme", tmp_path)
        assert label[y, x] == 1 and label[11, 0] == 0, kind


def test_masks_and_names_with_a_meaning(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.uint8([[0, 1], [1, 1]]) > 0).save(file, "PNG")
    mask = base64.b64encode(file.getvalue()).decode()
    labelme(
        tmp_path,
        shape("__ignore__", [[0, 0], [19, 11]], "rectangle"),
        shape("cat", [[3, 4], [4, 5]], "mask", mask=mask),
        shape("_background_", [[10, 0], [19, 11]], "rectangle"),
    )
    label = only("labelme", tmp_path)
    assert (label[0, 0], label[4, 3], label[4, 4], label[0, 15]) == (255, 255, 1, 0)


def test_the_photo_in_the_file(tmp_path):
    content = photo(tmp_path / "a.png").read_bytes()
    labelme(tmp_path, shape(), imageData=base64.b64encode(content).decode())
    (tmp_path / "a.png").unlink()
    source = open_data(data("labelme", tmp_path, split="1:0"), "train")
    np.testing.assert_array_equal(source[0].image, np.asarray(Image.open(io.BytesIO(content))))
    assert source.size(0) == (12, 20)
    labelme(tmp_path, shape(), imageData=base64.b64encode(content[:99]).decode())
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match="the image inside"):
        only("labelme", tmp_path)


def test_folders_are_splits_and_share_their_classes(tmp_path):
    labelme(tmp_path / "train", shape("dog"))
    labelme(tmp_path / "val", shape("cat"))
    config = data("labelme", tmp_path)
    train, val = (open_data(config, split) for split in ("train", "eval"))
    assert train.info == val.info
    assert (train[0].label.max(), val[0].label.max()) == (2, 1)


def test_a_photo_without_a_file(tmp_path):
    labelme(tmp_path, shape())
    photo(tmp_path / "b.png", seed=2)
    with pytest.raises(InputError, match="b.png has no annotations.*unannotated='background'"):
        only("labelme", tmp_path)
    config = data("labelme", tmp_path, split="1:0", unannotated="background")
    source = open_data(config, "train")
    assert [source[i].label.max() for i in range(2)] == [1, 0]


BAD = {
    "two points": (shape(points=[[1, 1], [2, 2]]), "Shape 2 of .* has 2 point"),
    "unknown": (shape(kind="spline"), "is a 'spline'"),
    "outside": (shape(points=[[1, 99], [2, 99], [2, 98]]), "is outside its image"),
    "no label": ({"points": []}, "lacks 'label'"),
    "text": (shape(points="here"), "is malformed"),
    "a number": (5, "is malformed"),
}


def test_bad_shapes_are_named(tmp_path):
    for entry, text in BAD.values():
        labelme(tmp_path, shape(), entry)
        with pytest.raises(InputError, match=text):
            only("labelme", tmp_path)
        report = check_data(data("labelme", tmp_path, split="1:0"), ("train",))
        assert [p.kind for p in report.problems] == ["annotation"]


def test_files_of_other_tools_and_without_photos(tmp_path):
    with pytest.raises(InputError, match="no LabelMe file"):
        only("labelme", tmp_path)
    put(tmp_path / "a.json", {"images": [], "annotations": [], "categories": []})
    with pytest.raises(InputError, match="COCO JSON, not LabelMe.*name='coco'"):
        only("labelme", tmp_path)
    labelme(tmp_path, shape())
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match="neither beside it nor embedded"):
        only("labelme", tmp_path)


def test_real_photos_with_the_polygons_of_their_masks(tmp_path, shared_data):
    """A photograph of VOC, with a rectangle around the bus in its mask."""
    sample = shared_data / "voc2012_sample"
    name = "2011_000003"
    shutil.copy(sample / f"JPEGImages/{name}.jpg", tmp_path)
    with Image.open(sample / f"SegmentationClass/{name}.png") as image:
        mask = np.asarray(image)
    rows, columns = np.nonzero((mask > 0) & (mask < 255))
    corners = [[int(columns.min()), int(rows.min())], [int(columns.max()), int(rows.max())]]
    contents = {"shapes": [shape("person", corners, "rectangle")], "imagePath": f"{name}.jpg"}
    put(tmp_path / f"{name}.json", contents)
    label = only("labelme", tmp_path)
    assert label.shape == mask.shape
    assert label[(mask > 0) & (mask < 255)].all()
