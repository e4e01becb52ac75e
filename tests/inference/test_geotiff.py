"""Scenes in windows: seams, missing data, georeference, and memory."""

import numpy as np
import pytest

from jaxseg.data.inside import BandFiles
from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError
from jaxseg.inference import geotiff
from jaxseg.models.preprocessing import Preprocessing

rasterio = pytest.importorskip("rasterio")
from rasterio.transform import from_origin  # noqa: E402

INFO = DataInfo("fields", ("land", "water"), ((1, 2, 3), (40, 50, 60)))
BANDS = Preprocessing(mean=(500.0, 600.0), std=(1.0, 1.0), dtype="uint16")
PLACE = from_origin(500000, 4600000, 10, 10)


def scene(path, pixels, **profile):
    """Writes a GeoTIFF of pixels [C, H, W]."""
    profile = {"crs": "EPSG:32633", "transform": PLACE} | profile
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as file:
        file.write(pixels)
    return path


def by_neighbours(pixels: np.ndarray) -> np.ndarray:
    """Thresholds the mean of 17×17 pixels around each at 700, with the edge repeated."""
    padded = np.pad(pixels[..., 0].astype(float), 8, "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (17, 17))
    return (windows.mean((2, 3)) > 700).astype(np.uint8)


def test_windows_leave_no_seam_and_bound_what_is_read(tmp_path):
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 1400, (20, 27)), np.ones((10, 10), int))
    pixels = np.stack([coarse, coarse]).astype(np.uint16)
    path, seen = scene(tmp_path / "scene.tif", pixels), []

    def label(part):
        seen.append(part.shape)
        return by_neighbours(part)

    geotiff.label_scene(path, tmp_path / "out.tif", label, INFO, BANDS, window=64)
    want = by_neighbours(pixels.transpose(1, 2, 0))
    with rasterio.open(tmp_path / "out.tif") as result:
        np.testing.assert_array_equal(result.read(1), want)
        assert (result.crs.to_epsg(), result.transform) == (32633, PLACE)
        assert (result.nodata, result.dtypes) == (255, ("uint8",))
        assert result.colormap(1)[1] == (40, 50, 60, 255)
        assert result.tags()["class_1"] == "water"
    assert set(seen) == {(64, 64, 2)}  # one shape: the network is compiled once
    assert len(seen) == 5 * 6
    assert [p.name for p in tmp_path.iterdir() if "unfinished" in p.name] == []


def test_a_scene_smaller_than_a_window_is_one(tmp_path):
    pixels = np.full((2, 30, 100), 900, np.uint16)
    path, seen = scene(tmp_path / "scene.tif", pixels), []

    def label(part):
        seen.append(part.shape)
        return by_neighbours(part)

    geotiff.label_scene(path, tmp_path / "out.tif", label, INFO, BANDS, 64)
    assert set(seen) == {(30, 64, 2)}
    with rasterio.open(tmp_path / "out.tif") as result:
        assert (result.read(1) == 1).all()


def test_pixels_without_data_are_mean_for_the_network_and_255_in_the_result(tmp_path):
    floats = np.full((2, 70, 130), 3.0, np.float32)
    floats[0, :5] = np.nan
    floats[1, 20:30, 40:50] = -9999
    floats[:, :, 66:] = -9999  # some windows have no data at all
    path = scene(tmp_path / "scene.tif", floats, nodata=-9999)
    seen, images = [], Preprocessing(mean=(7.0, 8.0), std=(1.0, 1.0), dtype="float32")

    def label(part):
        seen.append(part)
        return np.ones(part.shape[:2], np.uint8)

    geotiff.label_scene(path, tmp_path / "out.tif", label, INFO, images, window=64)
    with rasterio.open(tmp_path / "out.tif") as result:
        got = result.read(1)
    missing = np.isnan(floats[0]) | (floats == -9999).any(0)
    np.testing.assert_array_equal(got, np.where(missing, 255, 1))
    assert all(np.isfinite(part).all() for part in seen)
    assert {tuple(c) for part in seen for c in part.reshape(-1, 2).tolist()} == {(3, 3), (7, 8)}
    assert len(seen) < len(list(geotiff.windows((70, 130), 64)))


def test_alpha_is_a_mask_and_no_band(tmp_path):
    pixels = np.full((3, 64, 64), 900, np.uint16)
    pixels[1, :, :10] = 0  # GDAL writes alpha behind the grey
    path = scene(tmp_path / "scene.tif", pixels, photometric="minisblack", alpha="yes")
    geotiff.label_scene(path, tmp_path / "out.tif", by_neighbours, INFO, BANDS)
    with rasterio.open(tmp_path / "out.tif") as result:
        labels = result.read(1)
    assert (labels[:, :10] == 255).all() and (labels[:, 20:] == 1).all()


def test_bands_of_a_scene_may_be_separate_files(tmp_path):
    pixels = np.random.default_rng(0).integers(1, 1400, (2, 70, 130)).astype(np.uint16)
    pixels[1, 3:5, 7:9] = 0
    both = scene(tmp_path / "both.tif", pixels, nodata=0)
    files = [scene(tmp_path / f"s_{i}.tif", pixels[[i]], nodata=0) for i in range(2)]
    bands = BandFiles(tmp_path / "s", tuple(files))

    def label(part):
        return (part[..., 0] > part[..., 1]).astype(np.uint8)

    for path, out in ((both, "a.tif"), (bands, "b.tif")):
        geotiff.label_scene(path, tmp_path / out, label, INFO, BANDS, window=64)
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "b.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))
        assert set(np.unique(one.read(1))) == {0, 1, 255}
        assert (one.crs, one.transform) == (other.crs, other.transform)
    moved = {"transform": from_origin(0, 0, 10, 10)}
    for pixel, how, words in (
        (pixels, {}, "s_1.tif has 2 bands, but a file of config.data.band_suffixes holds one"),
        (pixels[:1, :64], {}, r"s_1.tif and .*s_0.tif, bands of one scene, differ in height"),
        (pixels[:1], moved, "differ in transform"),
    ):
        scene(tmp_path / "s_1.tif", pixel, **how)
        with pytest.raises(InputError, match=words):
            geotiff.label_scene(bands, tmp_path / "c.tif", label, INFO, BANDS, window=64)
    assert not (tmp_path / "c.tif").exists()


def test_what_is_wrong_is_said_and_leaves_nothing(tmp_path):
    out = tmp_path / "out" / "scene.tif"
    four = scene(tmp_path / "four.tif", np.zeros((4, 64, 64), np.uint16))
    deep = scene(tmp_path / "deep.tif", np.zeros((2, 64, 64), np.float32))
    (tmp_path / "text.tif").write_text("nothing")
    cut = scene(tmp_path / "cut.tif", np.ones((2, 64, 64), np.uint16))
    cut.write_bytes(cut.read_bytes()[:9000])
    for path, words in (
        (four, "4 bands, but the network needs 2"),
        (deep, "float32, but 16 bits are expected"),
        (tmp_path / "text.tif", "cannot be read as a GeoTIFF"),
        (tmp_path / "none.tif", "There is no file"),
        (cut, "cannot be labelled|cannot be read as a GeoTIFF"),
    ):
        with pytest.raises(InputError, match=words):
            geotiff.label_scene(path, out, by_neighbours, INFO, BANDS)
        assert not list(out.parent.iterdir())
