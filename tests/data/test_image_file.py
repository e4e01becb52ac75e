"""Image files from any source: only raster formats, regular files and complete files are read."""

import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxseg.data import image_file
from jaxseg.data.images import read_image
from jaxseg.data.masks import read_mask
from jaxseg.errors import InputError


@pytest.fixture(scope="module")
def png():
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 3, (40, 40), np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_every_flipped_bit_of_a_mask_is_noticed(png, tmp_path):
    """Every byte after the signature is checked; trailing data is accepted as before."""
    want, path = read_mask("a.png", 3, data=png), tmp_path / "a.png"
    for at in range(8, len(png)):
        damaged = bytearray(png)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        for data in (None, bytes(damaged)) if at % 16 == 0 else (None,):
            with pytest.raises(InputError, match=r"a\.png cannot be decoded"):
                read_mask(path, 3, data=data)
    np.testing.assert_array_equal(read_mask("a.png", 3, data=png + b"what follows"), want)


@pytest.mark.parametrize("cut", [9, 40, -13, -1])
def test_a_mask_that_is_cut_off(png, cut):
    with pytest.raises(InputError, match="cannot be decoded"):
        read_mask("a.png", 3, data=png[:cut])


def test_postscript_is_no_photo_and_reaches_no_interpreter(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    with pytest.raises(InputError, match=r"photo\.jpg cannot be decoded"):
        read_image(photo)
    assert shutil.which("gs") == str(tmp_path / "gs") and not (tmp_path / "asked").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
@pytest.mark.parametrize("read", [read_image, lambda path: read_mask(path, 3)])
def test_a_pipe_among_photographs_does_not_block(tmp_path, read):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match="is not a regular file"):
        read(tmp_path / "a.png")


def test_a_small_file_of_many_pixels_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MOST_PIXELS", 99)
    Image.new("L", (10, 10)).save(tmp_path / "a.png")
    for read in (read_image, lambda path: read_mask(path, 3)):
        with pytest.raises(
            InputError, match="more than 99 pixels according to its header: it is 10 wide"
        ):
            read(tmp_path / "a.png")


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr(image_file, "_LARGE", 50)
    with image_file.decoding(10, 10):
        assert image_file._one_large.locked()
        with image_file.decoding(5, 5):  # small images do not wait
            pass
    assert not image_file._one_large.locked()
