"""Images other than photographs, read from files that other libraries wrote."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.data import bands, read_image
from jaxseg.data.decode import read_frame
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import RGB, ImageKind

tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")

DEEP = np.random.default_rng(0).integers(0, 2**16, (7, 11, 5)).astype(np.uint16)
FLOAT = np.random.default_rng(1).normal(0, 1000, (7, 11, 5)).astype(np.float32)
BYTES = (DEEP >> 8).astype(np.uint8)


def tiff(path, pixels, **how):
    how = {"photometric": "minisblack", "planarconfig": "contig"} | how
    tifffile.imwrite(path, pixels, **how)


def png(pixels) -> bytes:
    return imagecodecs.png_encode(np.ascontiguousarray(pixels))


WRITERS = {
    "png grey 16": (1, 16, ".png", lambda p: Image.fromarray(DEEP[..., 0]).save(p)),
    "png rgb 16": (3, 16, ".png", lambda p: p.write_bytes(png(DEEP[..., :3]))),
    "png rgba 16": (3, 16, ".png", lambda p: p.write_bytes(png(DEEP[..., :4]))),
    "tiff grey 16": (1, 16, ".tif", lambda p: Image.fromarray(DEEP[..., 0]).save(p)),
    "tiff rgb 16": (3, 16, ".tif", lambda p: tiff(p, DEEP[..., :3], photometric="rgb")),
    "tiff by pixel": (5, 16, ".tif", lambda p: tiff(p, DEEP, compression="zlib", predictor=True)),
    "tiff by band": (
        *(5, 16, ".tif"),
        lambda p: tiff(p, DEEP.transpose(2, 0, 1), planarconfig="separate", compression="lzw"),
    ),
    "tiff in tiles": (5, 16, ".tif", lambda p: tiff(p, DEEP, tile=(16, 16), bigtiff=True)),
    "tiff by page": (
        *(5, 16, ".tif"),
        lambda p: tifffile.imwrite(p, DEEP.transpose(2, 0, 1), photometric="minisblack"),
    ),
    "tiff of floats": (5, 32, ".tif", lambda p: tiff(p, FLOAT)),
    "array": (5, 16, ".npy", lambda p: np.save(p, DEEP)),
    "array of floats": (5, 32, ".npy", lambda p: np.save(p, FLOAT.astype(np.float64))),
    "bytes": (5, 8, ".tif", lambda p: tiff(p, BYTES)),
    "png of bytes with alpha": (4, 8, ".png", lambda p: Image.fromarray(BYTES[..., :4]).save(p)),
}


def test_values_come_as_they_were_written(tmp_path):
    for writer, (channels, bits, suffix, write) in WRITERS.items():
        path, kind = tmp_path / f"{writer}{suffix}", ImageKind(channels, bits)
        write(path)
        got = read_image(path, kind=kind)
        want = {8: BYTES, 16: DEEP, 32: FLOAT}[bits][..., :channels]
        assert got.dtype == want.dtype, writer
        np.testing.assert_array_equal(got, want, err_msg=writer)
        assert read_frame(path).size == (7, 11), writer


def test_fewer_bits_are_scaled_and_grey_is_repeated_and_alpha_dropped(tmp_path):
    Image.fromarray(BYTES[..., :3]).save(tmp_path / "rgb.png")
    Image.fromarray(BYTES[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(BYTES[..., :4]).save(tmp_path / "alpha.png")
    Image.fromarray(BYTES[..., 0]).convert("LA").save(tmp_path / "grey_alpha.png")
    deep = BYTES.astype(np.uint16) * 257
    for name, kind, want in (
        ("rgb", ImageKind(3, 16), deep[..., :3]),
        ("grey", ImageKind(3, 16), np.repeat(deep[..., :1], 3, axis=2)),
        ("alpha", ImageKind(3, 16), deep[..., :3]),
        ("grey_alpha", ImageKind(1, 8), BYTES[..., :1]),
        ("rgb", ImageKind(3, 32), BYTES[..., :3].astype(np.float32)),
    ):
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.png", kind=kind), want)


def test_a_tiff_is_rotated_by_its_orientation(tmp_path):
    tiff(tmp_path / "a.tif", DEEP, extratags=[(274, "H", 1, 6, True)])
    got = read_image(tmp_path / "a.tif", kind=ImageKind(5, 16))
    np.testing.assert_array_equal(got, np.rot90(DEEP, -1))
    assert read_frame(tmp_path / "a.tif").size == (11, 7)


BAD = {
    "12 bits": (
        1,
        16,
        lambda p: tiff(p, DEEP[..., 0] >> 4, bitspersample=12),
        "12 bits per channel",
    ),
    "a band is missing": (5, 16, lambda p: tiff(p, DEEP[..., :4]), "4 channels, but 5 are"),
    "colours for grey": (1, 16, lambda p: Image.fromarray(BYTES[..., :3]).save(p), "3 channels"),
    "no number": (
        *(5, 32),
        lambda p: tiff(p, np.where(DEEP > 60000, np.nan, DEEP).astype(np.float32)),
        f"{(DEEP > 60000).sum()} values that are not finite",
    ),
    "floats": (5, 16, lambda p: tiff(p, FLOAT), "float32, but 16 bits are expected"),
    "too deep": (1, 8, lambda p: Image.fromarray(DEEP[..., 0]).save(p), "16 bits per channel"),
    "cut off": (
        *(5, 16),
        lambda p: (tiff(p, DEEP, compression="zlib"), p.write_bytes(p.read_bytes()[:-60])),
        "cannot be decoded",
    ),
}


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    for what, (channels, bits, write, words) in BAD.items():
        path = tmp_path / f"{what}.tif"
        write(path)
        with pytest.raises(InputError, match=words) as error:
            read_image(path, kind=ImageKind(channels, bits))
        assert str(path) in error.value.problem
        assert "\n" not in error.value.problem + error.value.remedy


def test_what_is_wrong_with_an_array_is_said(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, DEEP.transpose(2, 0, 1))
    with pytest.raises(InputError, match="channels seem to come first"):
        read_image(path, kind=ImageKind(5, 16))
    np.save(path, np.array([{}]), allow_pickle=True)  # unpickling it would run code
    with pytest.raises(InputError, match="cannot be read as an array"):
        read_image(path, kind=ImageKind(5, 16))


def test_a_deep_file_among_photographs_says_which_fields_take_it(tmp_path):
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"more than 8 bits.*config\.data\.bits=16"):
        read_image(tmp_path / "a.png", kind=RGB)
    tiff(tmp_path / "b.tif", DEEP)
    with pytest.raises(InputError, match=r"bands other than 8-bit.*config\.data\.channels"):
        read_image(tmp_path / "b.tif")


def test_without_tifffile_pillow_reads_what_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(bands, "_tifffile", lambda: None)
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "grey.tif")
    got = read_image(tmp_path / "grey.tif", kind=ImageKind(1, 16))
    np.testing.assert_array_equal(got[..., 0], DEEP[..., 0])
    for name, pixels in (("many", DEEP), ("rgb", DEEP[..., :3])):  # Pillow would halve RGB's bits
        tiff(tmp_path / f"{name}.tif", pixels, photometric="rgb" if name == "rgb" else "minisblack")
        with pytest.raises(InputError, match=r"jaxseg\[images\]"):
            read_image(tmp_path / f"{name}.tif", kind=ImageKind(pixels.shape[2], 16))
    tiff(tmp_path / "twelve.tif", DEEP[..., 0] >> 4, bitspersample=12)
    with pytest.raises(InputError, match="12 bits per channel"):
        read_image(tmp_path / "twelve.tif", kind=ImageKind(1, 16))
