"""A network of bands in separate files, from training to scenes of any size."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import jaxseg
from jaxseg.cli import run

rasterio = pytest.importorskip("rasterio")
from rasterio.transform import from_origin  # noqa: E402

pytestmark = pytest.mark.slow

BANDS = ("_B02", "_B03", "_B08", "_B04")
PLACE = from_origin(500000, 4600000, 10, 10)
SIZE, WINDOW = (640, 960), 512
SEEN = 224  # pixels of FCN-8s's receptive field to either side, plus the rounding of a stride


def pixels_of(label, rng):
    """Reflectances [H, W, 4] in which only the third band shows the class."""
    pixels = rng.integers(1, 3000, (*label.shape, 4)).astype(np.uint16)
    pixels[..., 2] += label.astype(np.uint16) * 5000
    return pixels


def write_tiff(path, pixels, **profile):
    height, width, count = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    place = {"crs": "EPSG:32633", "transform": PLACE}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place, **profile) as file:
        file.write(np.moveaxis(pixels, 2, 0))


def write_bands(folder, name, pixels, **profile):
    folder.mkdir(parents=True, exist_ok=True)
    for i, band in enumerate(BANDS):
        write_tiff(folder / f"{name}{band}.tif", pixels[..., [i]], **profile)


def squares(rng, rows, columns, side):
    return np.kron(rng.integers(0, 2, (rows, columns)), np.ones((side, side), int)).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, words):
    """A run on images with four bands in separate files."""
    root, rng = tmp_path_factory.mktemp("bands"), np.random.default_rng(0)
    (root / "data/masks").mkdir(parents=True)
    for i in range(12):
        label = squares(rng, 4, 4, 16)
        write_bands(root / "data/images", f"s{i}", pixels_of(label, rng))
        Image.fromarray(label).save(root / f"data/masks/s{i}.png")
    (root / "data/classes.txt").write_text("land\nwater\n")
    fields = {
        "data.name": "folder",
        "data.root": str(root / "data"),
        "data.split": "3:1",
        "data.channels": 4,
        "data.bits": 16,
        "data.band_suffixes": BANDS,
        "data.mean": "(1500, 1500, 4000, 1500)",
        "data.std": "(866, 866, 2600, 866)",
        "train.steps": 30,
        "loss.class_weights": "auto",
        "eval.every_steps": None,
    }
    assert not run(words(root / "run", fields))
    return root


@pytest.fixture(scope="module")
def scene(trained):
    """A scene of several windows, as one file and as a file per band; one corner has no data."""
    rng = np.random.default_rng(1)
    pixels = pixels_of(squares(rng, SIZE[0] // 32, SIZE[1] // 32, 32), rng)
    pixels[:40, :60] = 0
    write_tiff(trained / "whole.tif", pixels, nodata=0)
    write_bands(trained / "scenes", "tile", pixels, nodata=0)
    return pixels


def test_bands_are_trained_scored_labelled_and_converted(trained, capsys):
    work, out = trained / "run", trained / "out"
    assert json.loads((work / "scores.json").read_text())["mean_iou"] > 0.7
    assert not run(["evaluate", "--workdir", str(work)])
    files = sorted((trained / "data/images").glob("s[01]_*.tif"), reverse=True)
    assert not run(["predict", "--workdir", str(work), *map(str, files), "--out", str(out)])
    assert sorted(p.name for p in out.iterdir() if p.name[0] == "s") == ["s0.png", "s1.png"]
    network = jaxseg.load(work)
    for name in ("s0", "s1"):
        paths = [trained / f"data/images/{name}{band}.tif" for band in BANDS]
        want = network.predict(np.stack([np.asarray(Image.open(p)) for p in paths], axis=2))
        np.testing.assert_array_equal(Image.open(out / f"{name}.png"), want)
        np.testing.assert_array_equal(network.predict(paths), want)

    assert not run(["convert", str(work), "--out", str(trained / "network")])
    where = [f"--config.data.{k}={v}" for k, v in (("name", "folder"), ("root", trained / "data"))]
    where += ["--config.data.split=3:1", "--json", str(trained / "scores.json")]
    assert not run(["evaluate", "--weights", str(trained / "network"), *where])
    scores = [
        json.loads((trained / name).read_text()) for name in ("run/scores.json", "scores.json")
    ]
    assert scores[0]["mean_iou"] == pytest.approx(scores[1]["mean_iou"])
    given = shutil.copytree(trained / "data/images", trained / "given")
    (given / "s0_B08.tif").unlink()
    (given / "s7_B02.tif").unlink()
    capsys.readouterr()
    converted = ["--weights", str(trained / "network"), "--out", str(trained / "out2")]
    assert run(["predict", *converted, str(given)]) == 2
    said = capsys.readouterr()
    assert "2 images lack bands: s0 (_B08), s7 (_B02)" in said.err
    assert "10 images labelled" in said.out
    np.testing.assert_array_equal(Image.open(trained / "out2/s1.png"), Image.open(out / "s1.png"))


def test_scenes_are_labelled_window_by_window(trained, scene):
    words = ["predict", "--workdir", str(trained / "run"), "--geotiff", "--window", str(WINDOW)]
    assert not run([*words, str(trained / "whole.tif"), "--out", str(trained / "labels")])
    assert not run([*words, str(trained / "scenes"), "--out", str(trained / "labels")])
    with rasterio.open(trained / "labels/whole.tif") as result:
        labels = result.read(1)
        assert (result.crs.to_epsg(), result.transform, result.nodata) == (32633, PLACE, 255)
    with rasterio.open(trained / "labels/tile.tif") as result:
        np.testing.assert_array_equal(result.read(1), labels)
        assert (result.crs.to_epsg(), result.transform) == (32633, PLACE)

    network = jaxseg.load(trained / "run")
    has_data = (scene != 0).all(axis=2)
    filled = np.where(has_data[..., None], scene, np.uint16(network.model.preprocessing.fill))
    whole = network.predict(filled)
    np.testing.assert_array_equal(labels == 255, ~has_data)
    same = labels == whole
    assert same[has_data].mean() > 0.99
    # pixels so far inside a window that the network sees nothing outside it
    inner = slice(SEEN, WINDOW - SEEN)
    assert same[inner, inner].mean() > 0.9999
    assert 0.2 < whole.mean() < 0.8
