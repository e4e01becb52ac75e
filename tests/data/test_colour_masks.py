"""Masks in colours, by classes.txt and by palette.txt."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.config import default_config
from jaxseg.data import open_data
from jaxseg.data.check import check_data
from jaxseg.data.voc_folder import VocFolder
from jaxseg.errors import InputError

SKY, ROAD, VOID = (0, 0, 255), (128, 64, 128), (0, 0, 0)
CLASSES = "sky 0 0 255\nwide road 128 64 128\nignore 0 0 0\n"


def folder(root, pixels, suffix=".png", classes=CLASSES, name="classes.txt", **how):
    pixels = np.asarray(pixels, np.uint8)
    for part in ("images", "masks"):
        (root / part / "train").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*pixels.shape[:2], 3), np.uint8)).save(root / "images/train/a.jpg")
    Image.fromarray(pixels).save(root / f"masks/train/a{suffix}", **how)
    (root / name).write_text(classes)


def config(root, **fields):
    found = default_config().data
    found.update({"name": "folder", "root": str(root), **fields})
    return found


def label(root, **fields):
    return open_data(config(root, **fields), "train")[0].label


def test_colours_become_classes(tmp_path):
    folder(tmp_path, [[SKY, ROAD, VOID]])
    assert label(tmp_path).tolist() == [[0, 1, 255]]
    info = open_data(config(tmp_path), "train").info
    assert info.class_names == ("sky", "wide road") and info.palette == (SKY, ROAD)
    assert label(tmp_path, mask_values="zero_is_void").tolist() == [[0, 1, 255]]
    assert label(tmp_path, mask_values="binary").tolist() == [[0, 1, 255]]
    folder(tmp_path, [[0, 1, 255]])  # masks of indices are still read as indices
    assert label(tmp_path).tolist() == [[0, 1, 255]]


def test_a_palette_with_names_does(tmp_path):
    lines = "0 0 255\tsky\n128 64 128\twide road\n0 0 0\tignore\n"
    folder(tmp_path, [[SKY, ROAD, VOID]], classes=lines, name="palette.txt")
    assert label(tmp_path).tolist() == [[0, 1, 255]]
    assert open_data(config(tmp_path), "train").info.class_names == ("sky", "wide road")


def test_unknown_colours_are_named_with_counts_and_the_nearest_class(tmp_path):
    folder(tmp_path, [[SKY, ROAD, (120, 60, 128), (120, 60, 128), (250, 250, 250)]])
    text = (r"in 3 of its 5 pixels: \(120, 60, 128\) in 2 pixels, nearest 'wide road' "
            r"\(128, 64, 128\); \(250, 250, 250\) in 1 pixels")  # fmt: skip
    with pytest.raises(InputError, match=text):
        label(tmp_path)
    with pytest.raises(InputError, match=r"in 1 of its 5 pixels: \(250, 250, 250\)"):
        label(tmp_path, colour_tolerance=8)
    report = check_data(config(tmp_path), ("train",))
    assert [p.kind for p in report.problems][0] == "mask"


def test_a_jpeg_is_read_where_a_tolerance_is_asked_for(tmp_path):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = SKY, ROAD
    folder(tmp_path, pixels, ".jpg", quality=95)
    with pytest.raises(InputError, match="not suitable for class indices"):
        label(tmp_path)
    found = label(tmp_path, colour_tolerance=60)
    assert (found[:, :15] == 0).all() and (found[:, 17:] == 1).all()


def test_colours_that_two_classes_share(tmp_path):
    folder(tmp_path, [[SKY]], classes="sky 0 0 255\nroad 0 0 255\n")
    with pytest.raises(InputError, match="'sky' and 'road' of .* have the same colour"):
        label(tmp_path)


def test_without_colours_the_message_says_what_to_write(tmp_path):
    folder(tmp_path, [[SKY]], classes="sky\nroad\n")
    with pytest.raises(InputError, match="contains colours .*`name r g b`"):
        label(tmp_path)


def test_a_palette_in_another_order_than_the_classes(tmp_path):
    lines = "128 64 128 wide road\n0 0 0 ignore\n0 0 255 sky\n"
    folder(tmp_path, [[SKY, ROAD, VOID]], classes=lines, name="palette.txt")
    (tmp_path / "classes.txt").write_text("sky\nwide road\n")
    assert label(tmp_path).tolist() == [[0, 1, 255]]
    assert open_data(config(tmp_path), "train").info.palette == (SKY, ROAD)
    (tmp_path / "palette.txt").write_text("128 64 128\n0 0 255\n")  # without names: by order
    assert open_data(config(tmp_path), "train").info.palette == (ROAD, SKY)


@pytest.mark.parametrize("other", ["street", "sky"])
def test_a_palette_that_names_only_some_of_the_classes(tmp_path, other):
    folder(tmp_path, [[SKY, ROAD]], classes=f"0 0 255 sky\n128 64 128 {other}\n",
           name="palette.txt")  # fmt: skip
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(InputError, match="palette.txt has no colour for the class 'road'"):
        open_data(config(tmp_path), "train")


def test_a_voc_folder_opened_directly_reads_colours_too(tmp_path):
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    Image.new("RGB", (3, 1)).save(tmp_path / "JPEGImages/a.jpg")
    Image.fromarray(np.uint8([[ROAD, VOID, SKY]])).save(tmp_path / "SegmentationClass/a.png")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (tmp_path / "classes.txt").write_text(CLASSES)
    assert VocFolder(tmp_path, "train")[0].label.tolist() == [[1, 255, 0]]
