"""EXIF orientations: all files are turned upright, and contradicting pairs are reported."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxseg.config import default_config, set_field
from jaxseg.data import first_look, open_data
from jaxseg.data.check import check_data
from jaxseg.data.decode import read_size
from jaxseg.data.images import read_image
from jaxseg.data.listing import Pairs
from jaxseg.data.masks import read_stored
from jaxseg.data.pairs import read_pair
from jaxseg.data.prepare import prepare_data
from jaxseg.data.registry import list_data
from jaxseg.errors import InputError

SQUARE = np.arange(36, dtype=np.uint8).reshape(6, 6) ** 2 % 7 % 3
WIDE = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3


def save(path, pixels, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def photo_of(mask):
    return np.repeat(mask[..., None] * 100, 3, axis=2)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_and_masks_are_as_pillow_shows_them(tmp_path, orientation, suffix):
    photo = save(tmp_path / f"p.{suffix}", photo_of(WIDE), orientation)
    mask = save(tmp_path / f"m.{suffix}", WIDE, orientation)
    with Image.open(save(tmp_path / "reference.png", WIDE, orientation)) as file:
        shown = np.asarray(ImageOps.exif_transpose(file))
    np.testing.assert_array_equal(read_stored(mask), shown)
    np.testing.assert_array_equal(read_image(photo)[..., 0], shown * 100)
    assert read_size(photo) == shown.shape
    image, label = read_pair(photo, mask, 3)
    np.testing.assert_array_equal(image[..., 0], label * 100)


def test_exif_behind_the_pixels_of_a_png_counts_in_its_size(tmp_path):
    data = save(tmp_path / "a.png", photo_of(WIDE), 6).read_bytes()
    at = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[at : at + 4])
    (tmp_path / "a.png").write_bytes(
        data[:at] + data[at + length : -12] + data[at : at + length] + data[-12:]
    )
    assert read_size(tmp_path / "a.png") == read_image(tmp_path / "a.png").shape[:2] == (6, 4)


@pytest.mark.parametrize("tagged", ["photo", "mask"])
def test_only_one_of_a_pair_has_an_orientation(tmp_path, tagged):
    """If sizes fit either way: refused, or read as chosen: one tag for both, or each its own."""
    photo = save(tmp_path / "p.png", photo_of(SQUARE), 3 if tagged == "photo" else None)
    mask = save(tmp_path / "m.png", SQUARE, 3 if tagged == "mask" else None)
    with pytest.raises(InputError, match=f"{tagged[0]}.png has the EXIF orientation 3") as error:
        read_pair(photo, mask, 3)
    assert "config.data.exif='each'" in error.value.remedy
    image, label = read_pair(photo, mask, 3, exif="both")
    np.testing.assert_array_equal(image[..., 0], label * 100)
    image, label = read_pair(photo, mask, 3, exif="each")
    np.testing.assert_array_equal(image[::-1, ::-1, 0], label * 100)


@pytest.mark.parametrize("drawn", ["as stored", "as shown"])
def test_sizes_tell_how_the_mask_was_drawn(tmp_path, drawn):
    photo = save(tmp_path / "p.png", photo_of(WIDE), 6)
    mask = save(tmp_path / "m.png", WIDE if drawn == "as stored" else np.rot90(WIDE, -1).copy())
    image, label = read_pair(photo, mask, 3)
    assert image.shape[:2] == (6, 4)
    np.testing.assert_array_equal(image[..., 0], label * 100)


@pytest.fixture
def folder(tmp_path):
    """The `config` of a folder whose photos have an EXIF orientation and whose masks have none."""
    for i in range(3):
        for split in ("train", "val"):
            moved = np.roll(SQUARE, i + 3 * (split == "val"))
            save(tmp_path / f"d/images/{split}/{i}.png", photo_of(moved)[::-1, ::-1].copy(), 3)
            save(tmp_path / f"d/masks/{split}/{i}.png", moved)
    (tmp_path / "d/classes.txt").write_text("a\nb\nc\n")
    config = default_config()
    set_field(config, "data.name", "folder")
    set_field(config, "data.root", str(tmp_path / "d"))
    return config


def test_check_and_the_first_look_of_training_find_it(folder):
    report = check_data(folder.data)
    assert {p.kind for p in report.problems} == {"exif"} and len(report.problems) == 6
    with pytest.raises(InputError, match="has the EXIF orientation 3"):
        first_look(open_data(folder.data, "train"))


def test_prepared_records_are_upright_too(folder, tmp_path):
    set_field(folder, "data.exif", "each")
    assert not check_data(folder.data).problems
    source = Pairs(list_data(folder.data, "train"))
    set_field(folder, "data.root", str(prepare_data(folder.data, tmp_path / "out", say=print)))
    for a, b in zip(open_data(folder.data, "train"), source, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.label, b.label)
        np.testing.assert_array_equal(a.image[..., 0], a.label * 100)
