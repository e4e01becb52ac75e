"""Lists from other tools: columns, paths, suffixes, capitals, line ends, a byte order mark."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from jaxseg.config import default_config, set_field
from jaxseg.data import open_data
from jaxseg.errors import InputError

NAMES = ("a 1", "b.v2", "c")


@pytest.fixture
def folder(tmp_path):
    """`folder(text)`: the example names of a folder whose train.txt has this text."""
    for i, name in enumerate(NAMES):
        for part in ("images", "masks", "images/deep", "masks/deep"):
            (tmp_path / part).mkdir(parents=True, exist_ok=True)
        for at in ("", "deep/"):
            pixels = np.full((4, 5, 3), i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"images/{at}{name}.JPG", "PNG")
            Image.fromarray(pixels[..., 0] % 2).save(tmp_path / f"masks/{at}{name}.png")
    (tmp_path / "classes.txt").write_text("x\ny\n")

    def open_it(text, **fields):
        data = text if isinstance(text, bytes) else text.format(root=tmp_path).encode()
        (tmp_path / "train.txt").write_bytes(data)
        config = default_config()
        fields |= {"name": "folder", "root": str(tmp_path)}
        for field, value in fields.items():
            set_field(config, f"data.{field}", value)
        source = open_data(config.data, "train")
        return [(e.name, int(e.image[0, 0, 0]), int(e.label[0, 0])) for e in source]

    open_it.root = tmp_path
    return open_it


@pytest.mark.parametrize(
    "text",
    [
        "a 1\nb.v2\nc\n",
        "a 1.jpg\nb.v2.JPG\nc.Jpg",
        "a 1\r\n\r\nb.v2  \r\nc\r\n\r\n",
        "a 1\rb.v2\rc",
        "\ufeffa 1\nb.v2\nc",
        "images/a 1.jpg\nimages/b.v2.jpg\nimages/c.jpg",
        "/images/a 1.jpg\n/images/b.v2.jpg\n/images/c.jpg",
        "images\\a 1.jpg\nimages\\b.v2.jpg\nimages\\c.jpg",
        "{root}/images/a 1.JPG\n{root}/images/b.v2.JPG\n{root}/images/c.JPG",
        "a 1.jpg a 1.png\nb.v2.jpg b.v2.png\nc.jpg c.png",
        "a 1.jpg\ta 1.png\nb.v2.jpg\tb.v2.png\nc.jpg\tc.png",
        "images/a 1.JPG,masks/a 1.png\nimages/b.v2.JPG,masks/b.v2.png\nimages/c.JPG, masks/c.png",
        "/images/a 1.JPG /masks/a 1.PNG\n/images/b.v2.JPG /masks/b.v2.PNG\nc c",
        "{root}/images/a 1.JPG {root}/masks/a 1.png\nb.v2\nc",
    ],
)  # fmt: skip
def test_a_list_means_the_same_however_it_is_written(folder, text):
    assert folder(text) == [("a 1", 0, 0), ("b.v2", 1, 1), ("c", 2, 0)]


def test_a_list_in_utf_16_as_windows_writes_it(folder):
    assert [name for name, *_ in folder("a 1\r\nc\r\n".encode("utf-16"))] == ["a 1", "c"]


def test_names_in_subfolders_are_found_with_their_masks(folder):
    assert folder("deep/b.v2\ndeep/c.jpg") == [("deep/b.v2", 1, 1), ("deep/c", 2, 0)]


def test_the_second_column_may_be_any_mask(folder):
    assert folder("c.jpg b.v2.png") == [("c", 2, 1)]


@pytest.mark.parametrize(
    ("line", "missing"),
    [("d", "images/d.jpg"), ("d.jpg", "images/d.jpg"), ("c.jpg d.png", "masks/d.png"),
     ("d.jpg c.png", "d.jpg")],
)  # fmt: skip
def test_what_is_missing_is_named(folder, line, missing):
    with pytest.raises(InputError) as error:
        folder(line)
    assert f"There is no {folder.root}" in str(error.value) and missing in str(error.value)


def test_masks_with_an_ending_of_their_names(folder):
    for name in NAMES:
        (folder.root / f"masks/{name}.png").rename(folder.root / f"masks/{name}_mask.png")
    assert folder("c\nb.v2.jpg", mask_suffix="_mask") == [("c", 2, 0), ("b.v2", 1, 1)]


def test_a_mask_in_no_format_for_classes_is_seen(folder):
    (folder.root / "masks/c.png").rename(folder.root / "masks/c.jpg")
    with pytest.raises(InputError, match=r"masks/c.jpg has a format.* 8-bit PNG from"):
        folder("c")


def test_one_letter_or_two_make_no_difference(folder):
    """macOS writes é as e plus an accent; a list from another system as one character."""
    parted = unicodedata.normalize("NFD", "café")
    for part, suffix in (("images", "JPG"), ("masks", "png")):
        (folder.root / f"{part}/c.{suffix}").rename(folder.root / f"{part}/{parted}.{suffix}")
    assert [label for _, *label in folder(unicodedata.normalize("NFC", "café"))] == [[2, 0]]
    (folder.root / f"masks/{parted}.png").rename(
        folder.root / f"masks/{unicodedata.normalize('NFC', 'café')}.png"
    )
    assert [label for _, *label in folder(parted)] == [[2, 0]]


def test_images_in_subfolders_without_a_list(tmp_path):
    """Names include the subfolder; the case of an extension does not matter."""
    files = {"a/1": ".JPG", "b/1": ".png", "2": ".jpeg", "b/3": ".bmp"}
    for name, suffix in files.items():
        for part, ending, mode in (("images", suffix, "RGB"), ("masks", ".PNG", "L")):
            path = tmp_path / part / "train" / f"{name}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (5, 4)).save(path)
    (tmp_path / "classes.txt").write_text("x\ny\n")
    config = default_config().data
    config.update({"name": "folder", "root": str(tmp_path)})
    source = open_data(config, "train")
    assert [source.name(i) for i in range(len(source))] == ["2", "a/1", "b/1", "b/3"]
    where = tmp_path / "images" / "train"
    assert source.notes == (f"3 image(s) are in subfolders of {where}, such as 'a/1'",)
    config.split = "1:0"
    source = open_data(config, "train")
    assert [source.name(i) for i in range(len(source))][1:3] == ["train/a/1", "train/b/1"]
    (tmp_path / "masks/train/b/3.PNG").rename(tmp_path / "masks/train/3.PNG")
    with pytest.raises(InputError, match="b/3.bmp has no mask"):
        open_data(config, "train")
