"""Image files from any source: only raster formats, regular files and complete files are read."""

import contextlib
import io
import os
import shutil
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxseg.data import image_file
from jaxseg.data.formats.shapes import read_json
from jaxseg.data.images import read_image
from jaxseg.data.listing import read_lines
from jaxseg.data.masks import read_mask
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import RGB, ImageKind


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


def tiff(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF", compression="tiff_adobe_deflate")
    with Image.open(io.BytesIO(file.getvalue())) as image:
        (begin,), (size,) = image.tag_v2[273], image.tag_v2[279]
    return file.getvalue(), range(begin, begin + size)


def mat(pixels):
    """A compressed MATLAB file of version 5, like those of PASCAL-Context."""

    def element(kind, content):
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    flags, shape = struct.pack("<II", 9, 0), struct.pack("<ii", *pixels.shape)
    array = element(6, flags) + element(5, shape) + element(1, b"LabelMap")
    packed = zlib.compress(element(14, array + element(2, pixels.tobytes("F"))))
    head = b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x100) + b"IM"
    return head + struct.pack("<II", 15, len(packed)) + packed, range(136, 136 + len(packed))


@pytest.mark.parametrize("make", [tiff, mat])
def test_flipped_bits_of_masks_with_other_checksums_are_noticed(make, tmp_path, capfd):
    """Adler-32 protects a strip of a TIFF and a variable of a MATLAB file."""
    want = np.random.default_rng(0).integers(0, 250, (30, 30), np.uint8)
    data, places = make(want)
    path = tmp_path / f"a.{make.__name__}"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_mask(path, 250), want)
    for at in places[::5]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            np.testing.assert_array_equal(read_mask(path, 256), want)
        except InputError:
            pass
    capfd.readouterr()  # drops libtiff's own messages


def test_any_error_of_pillow_is_an_input_error(tmp_path, monkeypatch):
    def broken(self):
        raise TypeError("'IFDRational' object cannot be interpreted as an integer")

    Image.new("L", (4, 4)).save(tmp_path / "a.tif")
    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile.load", broken)
    with pytest.raises(InputError, match=r"a\.tif cannot be decoded \('IFDRational'"):
        read_image(tmp_path / "a.tif")


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
@pytest.mark.parametrize("suffix", ["png", "mat", "npy", "json", "txt"])
def test_a_pipe_among_the_files_of_a_data_set_does_not_block(tmp_path, suffix):
    read = {
        "png": read_image,
        "mat": lambda path: read_mask(path, 3),
        "npy": lambda path: read_image(path, kind=ImageKind(4, 8)),
        "json": lambda path: read_json(path, "Export it again."),
        "txt": read_lines,
    }[suffix]
    os.mkfifo(tmp_path / f"a.{suffix}")
    with pytest.raises(InputError, match="is not a regular file"):
        read(tmp_path / f"a.{suffix}")


def test_a_small_file_of_many_pixels_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MOST_PIXELS", 99)
    Image.new("L", (10, 10)).save(tmp_path / "a.png")
    for read in (read_image, lambda path: read_mask(path, 3)):
        with pytest.raises(
            InputError, match="more than 99 pixels according to its header: it is 10 wide"
        ):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("alone", [False, True])
def test_large_images_are_worked_on_one_at_a_time(monkeypatch, alone):
    """For the decoding, or inside `large_alone` until its end. Small images do not wait."""
    monkeypatch.setattr(image_file, "_LARGE", 50)
    held, end = threading.Event(), threading.Event()

    def work():
        with image_file.large_alone() if alone else contextlib.nullcontext():
            with image_file.decoding(10, 10):
                alone or (held.set(), end.wait(10))
            alone and (held.set(), end.wait(10))

    other = threading.Thread(target=work)
    other.start()
    held.wait(10)
    with image_file.decoding(5, 5):
        free = image_file._one_large.acquire(blocking=False)
    end.set()
    other.join()
    assert not free
    with image_file.decoding(10, 10), image_file.decoding(10, 10):  # a pair's photo and mask
        pass


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_a_file_of_several_images_is_refused(tmp_path, suffix):
    frames = [Image.fromarray(np.full((5, 7), value, np.uint8)) for value in (0, 90, 180)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    for read in (read_image, lambda path: read_mask(path, 200)):
        with pytest.raises(InputError, match=rf"a.{suffix} contains 3 images \(pages or frames\)"):
            read(path)


def test_parts_of_one_image_are_not_counted_as_images(tmp_path):
    """They are overviews and masks of a TIFF page, and additional pictures in a phone's photo."""
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for step, kind in ((1, 0), (2, 1)):
            file.write(pixels[::step, ::step], photometric="rgb", subfiletype=kind)
        file.write(np.ones((16, 16), bool), photometric="minisblack", subfiletype=4)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)
    two = [Image.fromarray(pixels)] * 2
    two[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=two[1:])
    assert read_image(tmp_path / "a.jpg").shape == (16, 16, 3)
    for big in (False, True):
        tifffile.imwrite(tmp_path / "b.tif", np.stack([pixels] * 2), photometric="rgb", bigtiff=big)
        for kind in (RGB, ImageKind(6, 8)):  # pages of colours are not the bands of one image
            with pytest.raises(InputError, match="b.tif contains 2 images"):
                read_image(tmp_path / "b.tif", kind=kind)


def test_jpeg_2000_is_named_with_the_command_that_converts_it(tmp_path):
    path = tmp_path / "a.tif"  # whatever its name
    Image.new("RGB", (8, 8)).save(path, "JPEG2000")
    with pytest.raises(InputError, match="it is a JPEG 2000 image.*gdal_translate IN.jp2 OUT.tif"):
        read_image(path)


def test_the_reader_is_found_where_it_used_to_be():
    from jaxseg.data.decode import read_image as before

    assert before is read_image
