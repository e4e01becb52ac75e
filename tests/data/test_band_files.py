"""Images whose bands are separate files."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli import run
from jaxseg.config import default_config
from jaxseg.data import open_data
from jaxseg.data.band_files import parted
from jaxseg.data.inside import BandFiles
from jaxseg.data.prepare import prepare_data
from jaxseg.errors import InputError
from jaxseg.inference.image_files import by_bands, find_images

BANDS = ("_B02", "_B03", "_B8A", "_B08")  # not in alphabetical order
PIXELS = np.random.default_rng(0).integers(0, 2**16, (3, 6, 8, 4)).astype(np.uint16)
LABELS = np.random.default_rng(1).integers(0, 2, (3, 6, 8)).astype(np.uint8)
NAMES = [f"T31_2{i}.L2A" for i in range(3)]


def write_bands(folder, name, pixels, bands=BANDS):
    folder.mkdir(parents=True, exist_ok=True)
    for i, band in enumerate(bands):
        Image.fromarray(pixels[..., i]).save(folder / f"{name}{band}.tif")


def build(root, images="images/train", masks="masks/train"):
    for name, pixels, label in zip(NAMES, PIXELS, LABELS, strict=True):
        write_bands(root / images, name, pixels)
        (root / masks).mkdir(parents=True, exist_ok=True)
        Image.fromarray(label).save(root / masks / f"{name}.png")
        Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(root / images / f"{name}_preview.jpg")
    (root / "classes.txt").write_text("land\nwater\n")
    return root


def data(root, **fields):
    config = default_config().data
    given = {"name": "folder", "root": str(root), "channels": 4, "bits": 16, "band_suffixes": BANDS}
    config.update(given | fields)
    return config


def test_bands_are_stacked_in_the_order_of_the_suffixes(tmp_path):
    """With folders as splits, with lists, with shares, and in VOC's layout."""
    flat, voc = build(tmp_path / "flat", "images", "masks"), tmp_path / "voc"
    build(voc, "JPEGImages", "SegmentationClass")
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    for folder in (flat, voc / "ImageSets/Segmentation"):
        (folder / "train.txt").write_text("\n".join(NAMES))
    for config in (
        data(build(tmp_path / "folders")),
        data(flat),
        data(flat, split="1:0"),
        data(voc, name="voc_folder"),
    ):
        source = open_data(config, "train")
        assert [source.name(i) for i in range(len(source))] == NAMES
        for i, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
            np.testing.assert_array_equal(source[i].image, pixels)
            np.testing.assert_array_equal(source[i].label, label)
            assert source.size(i) == (6, 8) and source[i].image.dtype == np.uint16


def test_eight_bits_are_scaled_to_sixteen_and_floats_kept(tmp_path):
    build(tmp_path)
    low = (PIXELS[0, ..., 1] // 257).astype(np.uint8)
    Image.fromarray(low).save(tmp_path / f"images/train/{NAMES[0]}_B03.tif")
    image = open_data(data(tmp_path), "train")[0].image
    np.testing.assert_array_equal(image[..., 1], low.astype(np.uint16) * 257)
    np.testing.assert_array_equal(image[..., 2], PIXELS[0, ..., 2])
    floats = open_data(data(tmp_path, bits=32), "train")[0].image
    np.testing.assert_array_equal(floats[..., :2], np.stack([PIXELS[0, ..., 0], low], axis=2))


@pytest.mark.parametrize("form", ["records", "folder"])
def test_prepared_images_are_single_files(tmp_path, form):
    config = data(build(tmp_path / "raw"))
    folder = prepare_data(config, tmp_path / "made", ["train"], say=lambda line: None, form=form)
    bands = BANDS if form == "records" else ()  # records hold whole images whatever the setting
    source = open_data(data(folder, band_suffixes=bands), "train")
    for i in range(3):
        np.testing.assert_array_equal(source[i].image, PIXELS[i])
        np.testing.assert_array_equal(source[i].label, LABELS[i])


def test_three_bands_of_eight_bits_are_a_photograph(tmp_path):
    config = data(build(tmp_path / "raw"), channels=3, bits=8, band_suffixes=BANDS[:3])
    for i, name in enumerate(NAMES):
        write_bands(tmp_path / "raw/images/train", name, (PIXELS[i] >> 8).astype(np.uint8))
    folder = prepare_data(config, tmp_path / "made", ["train"], say=lambda line: None)
    config.root = str(folder)
    want = (PIXELS[2] >> 8).astype(np.uint8)[..., :3]
    np.testing.assert_array_equal(open_data(config, "train")[2].image, want)


FIRST = f"{NAMES[0]}_B02.tif"
BAD = {
    "missing": rf"{NAMES[0]} lacks the band _B8A: there is no file {NAMES[0]}_B8A.tif beside",
    "listed": rf"{NAMES[0]} lacks the band _B8A: there is no file {NAMES[0]}_B8A.tif beside",
    "twice": rf"{NAMES[0]}_B8A.tif is a second file of the band, beside {NAMES[0]}_B8A.png",
    "colours": rf"{NAMES[0]}_B8A.tif has 3 bands, but a file of config.data.band_suffixes",
    "size": rf"{NAMES[0]}_B8A.tif is 8 wide and 5 high, but .*{FIRST}, another band .*, 8 and 6",
    "depth": rf"{NAMES[0]}_B8A.tif has values of type int32, but 16 bits are expected",
    "channels": r"band_suffixes names 4 bands, and config.data.channels is 3.*channels=4",
    "tfds": r"band_suffixes is .* but of 'tfds' an image is one file",
    "format": r"_B(02|03|08|8A).jp2 has a format that is not supported.*gdal_translate",
    "none": r"No file in .*train has a name that ends in _X or _Y, such as T31_20.L2A_B02.tif",
}


def test_bad_bands_are_named(tmp_path):
    for case, words in BAD.items():
        config, split = _spoilt(tmp_path / case, case)
        with pytest.raises(InputError, match=f"(?s){words}"):
            open_data(config, split)[0]


def _spoilt(root, case):
    """Makes the data set of a case; returns it with the split that has the defect."""
    build(root, *(("images", "masks") if case == "listed" else ()))
    images = root / ("images" if case == "listed" else "images/train")
    (root / "val.txt").write_text("\n".join(NAMES))
    band, fields = images / f"{NAMES[0]}_B8A.tif", {}
    if case in ("missing", "listed"):
        band.unlink()
    elif case == "twice":
        shutil.copy(band, band.with_suffix(".png"))
    elif case == "colours":
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(band)
    elif case == "size":
        Image.fromarray(PIXELS[0, :5, :, 0]).save(band)
    elif case == "depth":
        Image.fromarray(PIXELS[0, ..., 0].astype(np.int32) - 7).save(band)
    elif case == "format":
        for file in images.glob("*.tif"):
            file.rename(file.with_suffix(".jp2"))
    elif case == "none":
        fields = {"band_suffixes": ("_X", "_Y"), "channels": 2}
    else:
        fields = {"channels": 3} if case == "channels" else {"name": "tfds", "tfds_name": "x"}
    return data(root, **fields), "eval" if case == "listed" else "train"


def test_check_takes_them(tmp_path, capsys):
    build(tmp_path)
    words = ["--data", "folder", "--root", str(tmp_path), "--config.data.eval_split=train"]
    words += ["--config.data.channels=4", "--config.data.bits=16"]
    words += [f"--config.data.band_suffixes={BANDS}"]
    assert run(["check", *words]) == 0
    printed = capsys.readouterr().out.split("--config.data.mean='(")[1].split(")")[0]
    want = PIXELS.reshape(-1, 4).mean(0)
    np.testing.assert_allclose([float(v) for v in printed.split(",")], want, rtol=1e-4)
    (tmp_path / f"images/train/{NAMES[1]}_B08.tif").unlink()
    assert run(["check", *words]) == 2
    out = capsys.readouterr().out
    assert f"{NAMES[1]} lacks the band _B08" in out and "unpaired" not in out


@pytest.mark.parametrize("named", ["T1.png", "T1_B03.tif"])  # a preview, or one of the bands
def test_annotations_are_of_all_bands(tmp_path, named):
    write_bands(tmp_path / "images", "T1", PIXELS[0])
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "images/T1.png")
    square = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]]}
    contents = {
        "images": [{"id": 1, "file_name": named, "width": 8, "height": 6}],
        "annotations": [square | {"iscrowd": 0}],
        "categories": [{"id": 1, "name": "water"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(contents))
    config = data(tmp_path, name="coco", split="1:0")
    (example,) = open_data(config, "train")
    np.testing.assert_array_equal(example.image, PIXELS[0])
    assert example.label.sum() == 9 and example.label[1:4, 1:4].all()
    (tmp_path / "images/T1_B08.tif").unlink()
    with pytest.raises(InputError, match=r"images/T1 lacks the band _B08"):
        open_data(config, "train")


def test_files_are_grouped_in_any_order(tmp_path):
    for name, pixels in zip(NAMES, PIXELS, strict=True):
        write_bands(tmp_path / "in/sub", name, pixels)
    (tmp_path / "in/readme.png").touch()
    (tmp_path / f"in/sub/{NAMES[1]}_B02.tif").unlink()
    (tmp_path / f"in/sub/{NAMES[2]}_B08.tif").unlink()
    files = find_images([str(tmp_path / "in")], tmp_path / "out")
    found = by_bands(files[::-1], BANDS)
    (image,) = found.images
    assert image.name == f"sub/{NAMES[0]}" and isinstance(image.path, BandFiles)
    assert [p.stem[-4:] for p in image.path.files] == list(BANDS)
    assert [file.name for file in found.others] == ["readme"]
    assert found.incomplete.problem.startswith("2 images lack bands: ")
    for part in (f"sub/{NAMES[1]} (_B02)", f"sub/{NAMES[2]} (_B08)"):
        assert part in found.incomplete.problem
    whole = by_bands(found.others, BANDS)  # no band files here: each file holds all channels
    assert (whole.images, whole.others, whole.incomplete) == (found.others, [], None)
    assert parted("_B02", BANDS) is None and parted("a_1_11", ("_1", "_11")) == ("a_1", "_11")
