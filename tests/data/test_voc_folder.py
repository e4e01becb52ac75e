import pickle
import re

import numpy as np
import pytest
from PIL import Image

from jaxseg.config import default_config
from jaxseg.data import VocFolder, open_data
from jaxseg.data.colours import voc_palette
from jaxseg.data.voc_folder import VOC_CLASSES
from jaxseg.errors import InputError


def refused(*words: str):
    """Expects an InputError whose message has the words in this order."""
    return pytest.raises(InputError, match="(?s)" + ".*".join(map(re.escape, words)))


def test_reads_examples_in_the_order_of_the_list(devkit):
    devkit.list("train", ["p2", "p0"])
    source = devkit.open()
    assert len(source) == 2
    image, label, name = source[0]
    assert (image.shape, image.dtype, label.shape, label.dtype, name) == (
        ((32, 9, 3), np.uint8, (32, 9), np.uint8, "p2")
    )
    np.testing.assert_array_equal(
        label, np.asarray(Image.open(devkit.root / "SegmentationClass/p2.png"))
    )
    np.testing.assert_array_equal(image, np.asarray(Image.open(devkit.root / "JPEGImages/p2.jpg")))
    assert (source.name(1), source.size(1)) == ("p0", (13, 17))


def test_sizes_come_from_headers(devkit):
    source = devkit.open()
    for name in ("p0", "p2"):  # without most of their pixels
        path = devkit.root / f"JPEGImages/{name}.jpg"
        path.write_bytes(path.read_bytes()[:-200])
    assert [source.size(i) for i in range(5)] == devkit.sizes


def test_voc_classes_and_colours_by_default(devkit):
    info = devkit.open().info
    assert info.class_names == tuple(VOC_CLASSES)
    assert (info.num_classes, info.ignore_label, info.name) == (21, 255, "devkit")
    assert (info.palette[15], info.palette[20]) == (
        (192, 128, 128),
        (0, 64, 128),
    )  # person, tvmonitor
    assert voc_palette(256)[255] == (224, 224, 192)  # the border


def test_classes_and_colours_of_the_folder(devkit):
    devkit.mask("p0", np.array([[0, 1, 255]], np.uint8))
    devkit.photo("p0", np.zeros((1, 3, 3), np.uint8))
    devkit.list("train", ["p0"])
    devkit.text("classes.txt", "sky\nroad \n\n")
    devkit.text("palette.txt", "1 2 3 sky\n128 64 128 road\n")
    info = devkit.open().info
    assert info.class_names == ("sky", "road")
    assert info.palette == ((1, 2, 3), (128, 64, 128))
    devkit.mask("p0", np.array([[0, 2, 255]], np.uint8))
    with refused("p0.png", "contains the value 2"):
        devkit.open()[0]
    devkit.text("classes.txt", "sky\n")
    (devkit.root / "palette.txt").unlink()
    with refused("classes.txt", "lists one class"):
        devkit.open()


@pytest.mark.parametrize("suffix", [".jpeg", ".png"])
def test_other_photo_suffixes(devkit, suffix):
    (devkit.root / "JPEGImages/p0.jpg").unlink()
    pixels = np.full((13, 17, 3), 90, np.uint8)
    devkit.photo("p0", pixels, suffix)
    np.testing.assert_allclose(devkit.open()[0].image, pixels, atol=2)


def test_ids_may_name_a_subfolder(devkit):
    (devkit.root / "JPEGImages/a").mkdir()
    (devkit.root / "SegmentationClass/a").mkdir()
    devkit.photo("a/x", np.zeros((2, 3, 3), np.uint8))
    devkit.mask("a/x", np.zeros((2, 3), np.uint8))
    devkit.list("train", ["a/x"])
    assert devkit.open()[0].name == "a/x"


def test_list_of_another_editor(devkit):
    devkit.text("ImageSets/Segmentation/train.txt", "\ufeffp0\r\n\r\np1  \r\n")
    assert [devkit.open().name(i) for i in range(2)] == ["p0", "p1"]


def test_is_picklable(devkit):
    copy = pickle.loads(pickle.dumps(devkit.open()))
    np.testing.assert_array_equal(copy[1].label, devkit.open()[1].label)


def test_missing_root(tmp_path):
    with refused("There is no folder", str(tmp_path / "none"), "JPEGImages/ID.jpg"):
        VocFolder(tmp_path / "none", "train")


def test_missing_part_of_the_layout(devkit):
    (devkit.root / "SegmentationClass").rename(devkit.root / "masks")
    with refused("There is no folder", "SegmentationClass", "SegmentationClass/ID.png"):
        devkit.open()


def test_missing_list_suggests_another(devkit):
    with refused("There is no list", "trian.txt", "Did you mean 'train'?"):
        devkit.open("trian")


def test_empty_list(devkit):
    devkit.list("val", [])
    with refused("val.txt is empty"):
        devkit.open("val")


def test_ids_listed_twice(devkit):
    devkit.list("train", ["p0", "p1", "p2", "p1", "p2"])
    with refused("train.txt contains 'p1' more than once (and 1 similar problem)"):
        devkit.open()


def test_missing_photos_are_counted(devkit):
    devkit.list("train", ["p0", "q", "p1", "r", "s"])
    with refused("JPEGImages/q.jpg", "train.txt lists (and 2 similar problems)"):
        devkit.open()


def test_missing_mask(devkit):
    (devkit.root / "SegmentationClass/p3.png").unlink()
    with refused("SegmentationClass/p3.png", "train.txt lists."):
        devkit.open()


def test_size_mismatch(devkit):
    devkit.mask("p0", np.zeros((17, 13), np.uint8))
    with refused(
        "p0.jpg is 17 wide and 13 high", "p0.png is 13 wide and 17 high", "Make both the same size"
    ):
        devkit.open()[0]


def test_files_that_vanish_or_break_after_opening(devkit):
    source = devkit.open()
    (devkit.root / "SegmentationClass/p0.png").unlink()
    with refused("p0.png cannot be decoded"):
        source[0]
    path = devkit.root / "JPEGImages/p1.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    with refused("p1.jpg cannot be decoded"):
        source[1]


@pytest.mark.parametrize(
    "file, text, words",
    [
        ("classes.txt", "a\n\nb\n", ("Line 2 of", "classes.txt is empty")),
        ("classes.txt", "a\nb\na\n", ("Line 3 of", "classes.txt is 'a' again")),
        ("classes.txt", "\n".join(map(str, range(256))), ("has 256 classes",)),
        (
            "palette.txt",
            "0 0 0 a\n",
            ("palette.txt has 1 colours, but", "no classes.txt"),
        ),
        ("palette.txt", "0 0 256 a\n", ("Line 1 of", "palette.txt is '0 0 256 a'", "R G B name")),
        ("palette.txt", "0 0\n", ("Line 1 of", "palette.txt is '0 0'")),
    ],
)
def test_malformed_class_files(devkit, file, text, words):
    devkit.text(file, text)
    with refused(*words):
        devkit.open()


def test_labelmap_of_cvat_names_classes_and_colours(tmp_path):
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    Image.new("RGB", (2, 1)).save(tmp_path / "JPEGImages/a.jpg")
    Image.fromarray(np.uint8([[[0, 0, 0], [9, 8, 7]]])).save(tmp_path / "SegmentationClass/a.png")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    path = tmp_path / "labelmap.txt"
    path.write_text("# label:color_rgb:parts:actions\nbackground:::\ncar:9,8,7:wheel:drives\n")
    config = default_config().data
    config.update({"name": "voc_folder", "root": str(tmp_path)})
    source = open_data(config, "train")
    assert source.info.class_names == ("background", "car")
    assert source.info.palette == ((0, 0, 0), (9, 8, 7)) and source[0].label.tolist() == [[0, 1]]
    path.write_text("background:::\ncar:9,8::\n")
    with pytest.raises(InputError, match="Line 2 of .*labelmap.txt is 'car:9,8::'"):
        open_data(config, "train")
