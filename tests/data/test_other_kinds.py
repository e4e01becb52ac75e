"""Augmentation, batches and `check` of images other than photographs."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli import run
from jaxseg.config import default_config
from jaxseg.data import (
    Augment,
    Cached,
    Example,
    eval_batches,
    open_data,
    resize_image,
    train_batches,
)
from jaxseg.data.shown import shown
from jaxseg.data.source import kind_of
from jaxseg.data.warp_backends import BACKENDS
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import ImageKind

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
LABEL = np.random.default_rng(1).integers(0, 4, (40, 50), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Six 16-bit images of five bands, in two sizes; the first band is 1000 times the class."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i in range(6):
        label = rng.integers(0, 3, (20 + i % 2, 24), np.uint8)
        image = rng.integers(0, 2**16, (*label.shape, 5)).astype(np.uint16)
        image[..., 0] = label.astype(np.uint16) * 1000
        np.save(tmp_path / f"images/s{i}.npy", image)
        Image.fromarray(label).save(tmp_path / f"masks/s{i}.png")
    (tmp_path / "classes.txt").write_text("ground\nfield\nwater\n")
    return tmp_path


def data(root, **fields):
    config = default_config().data
    config.update({"name": "folder", "root": str(root), "split": "2:1", "channels": 5, "bits": 16})
    config.update(fields)
    return config


@pytest.mark.parametrize("backend", BACKENDS)
def test_channels_are_warped_blurred_and_resized_as_those_of_photographs(backend):
    if backend == "opencv":
        pytest.importorskip("cv2")
    levels = 3 if backend == "kornia" else 0  # it interpolates only 8-bit RGB
    fill = (9, 8, 7)
    how = {"crop": (30, 30), "scale": (0.5, 1.5), "rotation": 30.0, "rotation_probability": 1.0}
    how |= {"blur": 0.5, "flip": 0.5, "backend": backend}

    def cut(image, fill, seed):
        rng = np.random.default_rng(seed)
        return Augment(**how, fill=fill)(Example(image, LABEL, "a"), rng).image

    many = np.concatenate([PHOTO, PHOTO[..., :2]], axis=2)
    for seed in range(6):
        want = cut(PHOTO, fill, seed)
        got = cut(many, (*fill, 9, 8), seed)[..., :3]
        np.testing.assert_allclose(got, want.astype(int), rtol=0, atol=levels)
        one = cut(PHOTO[..., :1], fill[:1], seed)
        np.testing.assert_array_equal(one, got[..., :1])
        deep = cut(PHOTO.astype(np.uint16) * 256, tuple(256 * f for f in fill), seed)
        assert deep.dtype == np.uint16
        assert np.abs(deep / 256 - want).max() < 1.6 + levels  # rounded once more, to 8 bits
        floats = cut(PHOTO.astype(np.float32), fill, seed)
        assert np.abs(floats - want).max() < 1.6 + levels
    small = resize_image(PHOTO, (20, 31))
    assert np.abs(resize_image(PHOTO.astype(np.float32), (20, 31)) - small).max() < 1
    np.testing.assert_array_equal(resize_image(many, (20, 31))[..., :3], small)


def test_brightness_and_contrast_keep_the_range_of_each_dtype():
    how = Augment(brightness=0.9, contrast=0.9)
    for dtype, top in ((np.uint8, 255), (np.uint16, 65535), (np.float32, None)):
        image = (np.arange(40 * 50 * 4).reshape(40, 50, 4) % 256).astype(dtype)
        changed = [
            how(Example(image, LABEL, "a"), np.random.default_rng(s)).image for s in range(8)
        ]
        assert all(c.dtype == dtype for c in changed)
        means = [float(c.mean()) for c in changed]
        assert min(means) < 0.7 * image.mean() < 1.2 * image.mean() < max(means)
        if top == 65535:
            assert max(c.max() for c in changed) > 255


def test_batches_keep_dtype_channels_and_label(folder):
    source = open_data(data(folder), "train")
    assert kind_of(source) == kind_of(Cached(source)) == ImageKind(5, 16)
    batches = train_batches(
        source, seed=0, batch_size=4, augment=Augment(fill=(7,) * 5), pad_to=32, fill=(7,) * 5
    )
    batch = next(batches)
    batches.close()
    assert (batch.image.dtype, batch.image.shape) == (np.uint16, (4, 32, 32, 5))
    known = batch.label != 255
    np.testing.assert_array_equal(batch.image[known][:, 0], batch.label[known] * np.uint16(1000))
    assert (batch.image[~known] == 7).all()
    for process in range(2):  # the second may have only padding
        for batch in eval_batches(
            source, batch_size=2, pad_to=32, process_index=process, process_count=2
        ):
            assert (batch.image.dtype, batch.image.shape) == (np.uint16, (1, 32, 32, 5))


def test_check_prints_mean_and_std_of_the_training_images(folder, capsys):
    words = ["--data", "folder", "--root", str(folder), "--config.data.split=2:1"]
    assert run(["check", *words, "--config.data.channels=5", "--config.data.bits=16"]) == 0
    out = capsys.readouterr().out
    source = open_data(data(folder), "train")
    pixels = np.concatenate([source[i].image.reshape(-1, 5) for i in range(len(source))])
    for name, want in (("mean", pixels.mean(0)), ("std", pixels.std(0))):
        printed = out.split(f"--config.data.{name}='(")[1].split(")")[0]
        np.testing.assert_allclose([float(v) for v in printed.split(",")], want, rtol=1e-4)


def test_a_file_of_another_kind_is_named(folder, capsys):
    np.save(folder / "images/s0.npy", np.zeros((20, 24, 4), np.uint16))
    np.save(folder / "images/s1.npy", np.full((21, 24, 5), np.nan, np.float32))
    words = ["--data", "folder", "--root", str(folder), "--config.data.split=2:1"]
    assert run(["check", *words, "--config.data.channels=5", "--config.data.bits=16"]) == 2
    out = capsys.readouterr().out
    assert f"{folder}/images/s0.npy has 4 channels, but 5 are expected." in out
    assert f"{folder}/images/s1.npy has values of type float32, but 16 bits are expected." in out
    with pytest.raises(InputError, match=r"s0\.npy has 4 channels"):
        next(iter(open_data(data(folder, split="1:0"), "train")))


def test_pictures_show_any_image():
    assert shown(PHOTO) is PHOTO
    np.testing.assert_array_equal(shown(PHOTO[..., :1])[..., 2], PHOTO[..., 0])
    for dtype in (np.uint16, np.float32):
        picture = shown(np.dstack([PHOTO] * 2).astype(dtype) * 100)
        assert (picture.dtype, picture.shape) == (np.uint8, PHOTO.shape)
        assert np.abs(picture.astype(int) - PHOTO).max() < 6
    assert (shown(np.full((4, 4, 1), 5.0, np.float32)) == 0).all()
