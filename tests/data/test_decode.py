import re
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxseg.data.class_lines import Named
from jaxseg.data.colour_masks import ColourTable
from jaxseg.data.decode import read_size
from jaxseg.data.images import read_image
from jaxseg.data.masks import decode_mask, read_mask
from jaxseg.errors import InputError

RGB = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)


def grey_png(path, values: np.ndarray, bits: int):
    """Writes a grey PNG of 1, 2 or 4 bits per pixel, which PIL reads but does not write."""
    rows = []
    for row in values:
        packed = np.array([[v >> (bits - 1 - b) & 1 for b in range(bits)] for v in row])
        rows.append(b"\0" + np.packbits(packed.ravel()).tobytes())
    write_png(path, rows, values.shape[1], bits, 0)


def colour_png_of_16_bits(path, values: np.ndarray):
    write_png(path, [b"\0" + row.astype(">u2").tobytes() for row in values], values.shape[1], 16, 2)


def write_png(path, rows: list[bytes], width: int, bits: int, colour: int):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    body = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_photos_of_any_mode_become_rgb(tmp_path, mode):
    image = Image.fromarray(RGB).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    got = read_image(path)
    assert got.dtype == np.uint8
    assert got.shape == (7, 11, 3)
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB")))


def test_alpha_is_dropped_not_blended(tmp_path):
    rgba = np.dstack([RGB, np.zeros((7, 11), np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


def test_palette_photo_with_transparency_raises_no_warning(tmp_path):
    image = Image.fromarray(RGB).quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB")))


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (9, 8), (255, 0, 0, 0)).save(tmp_path / "a.jpg")
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg")[4, 4], [0, 255, 255], atol=3)


@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_a_photo_is_turned_upright(tmp_path, orientation, mode):
    """The EXIF standard: each orientation gives the sides of stored row 0 and column 0."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / "a.png", exif=exif)
    sides = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
    sides |= {5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}
    row, column = sides.get(orientation, "top left").split()
    want = np.asarray(image.convert("RGB"))
    if row in ("left", "right"):
        want, row, column = want.swapaxes(0, 1), column, row
    want = want[:: -1 if row == "bottom" else 1, :: -1 if column == "right" else 1]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), want)


def test_exif_that_cannot_be_read_turns_nothing(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01")
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


def test_mask_gives_indices_not_colours(tmp_path):
    indices = np.array([[0, 1, 255], [20, 3, 255]], np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(np.random.default_rng(1).bytes(768))
    image.save(tmp_path / "a.png")
    got = read_mask(tmp_path / "a.png", 21)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, indices)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_mask_of_few_bits_is_not_stretched(tmp_path, bits):
    values = np.arange(2**bits, dtype=np.uint8).reshape(1, -1).repeat(3, 0)
    grey_png(tmp_path / "a.png", values, bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 2**bits), values)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palette_mask_of_few_bits(tmp_path, bits):
    values = np.arange(2**bits, dtype=np.uint8).reshape(1, -1)
    image = Image.fromarray(values)
    image.putpalette(bytes(range(48)))
    image.save(tmp_path / "a.png", bits=bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 2**bits), values)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_mask_is_refused(tmp_path, mode):
    Image.fromarray(RGB).convert(mode).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"a.png contains colours .mode {mode}.*its class index"):
        read_mask(tmp_path / "a.png", 21)


def test_an_alpha_channel_of_a_mask(tmp_path):
    """It may be opaque, or hide one colour, the background; erased labels are not visible."""
    path, values = tmp_path / "a.png", np.array([[0, 1], [2, 2]], np.uint8)
    alpha = np.full_like(values, 255)
    Image.fromarray(np.dstack([values, alpha]), "LA").save(path)
    np.testing.assert_array_equal(read_mask(path, 3), values)
    alpha[0] = 0
    Image.fromarray(np.dstack([values, alpha]), "LA").save(path)
    with pytest.raises(InputError, match="a.png has transparent pixels"):
        read_mask(path, 3)
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)
    table = ColourTable([Named("", tuple(c)) for c in colours.tolist()], [0, 1, 2])
    Image.fromarray(np.dstack([colours[values], alpha])).save(path)
    with pytest.raises(
        InputError, match=r"2 different colours below: \(0, 0, 0\), \(255, 0, 0\)\."
    ):
        decode_mask(path, colours=table)
    alpha[0] = 0, 9
    Image.fromarray(np.dstack([colours[values], alpha])).save(path)
    np.testing.assert_array_equal(decode_mask(path, colours=table).pixels, values)


def test_16_bits_are_refused(tmp_path):
    Image.fromarray(np.ones((3, 4), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="Mask .*a.png has more than 8 bits"):
        read_mask(tmp_path / "a.png", 21)
    with pytest.raises(InputError, match="Image .*a.png has more than 8 bits"):
        read_image(tmp_path / "a.png")


def test_colours_of_16_bits_are_not_cut_to_8(tmp_path):
    """Pillow keeps only the upper 8 bits: an image of a 12-bit camera would be nearly black."""
    colour_png_of_16_bits(tmp_path / "a.png", RGB.astype(np.uint16) * 16)
    with pytest.raises(InputError, match=r"Image .*a.png has more than 8 bits.*bits=16"):
        read_image(tmp_path / "a.png")
    with pytest.raises(InputError, match="Mask .*a.png has more than 8 bits"):
        read_mask(tmp_path / "a.png", 2)
    tifffile = pytest.importorskip("tifffile", reason="writes a TIFF of 16 bits")
    tifffile.imwrite(tmp_path / "a.tif", RGB.astype(np.uint16) * 16, photometric="rgb")
    with pytest.raises(InputError, match=r"Image .*a.tif has more than 8 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "values, classes, message",
    [
        ([0, 20, 21, 255], 21, "a.png contains the value 21; allowed values are 0..20 and 255"),
        ([0, 22, 21, 3], 21, "contains the values 21, 22; allowed"),
        (list(range(40)), 21, "contains the values 21, 22, 23, 24, 25, 26, 27, 28, ...; allowed"),
        ([0, 254], 2, "looks like a binary mask. Save the foreground as 1, not 254"),
        ([1, 2, 255], 2, "numbered from 1; set config.data.mask_values='zero_is_void'"),
    ],
)
def test_values_out_of_range_are_named(tmp_path, values, classes, message):
    Image.fromarray(np.array([values], np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=re.escape(message)):
        read_mask(tmp_path / "a.png", classes)


def test_mask_of_nothing_but_ignore_is_legal(tmp_path):
    Image.new("L", (3, 2), 255).save(tmp_path / "a.png")
    assert (read_mask(tmp_path / "a.png", 2) == 255).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_truncated_files_are_named(tmp_path, suffix, kept):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(RGB.repeat(20, 0).repeat(20, 1)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(InputError, match=f"photo{suffix} cannot be decoded"):
        read_image(path)


def test_damaged_bytes_give_pixels_or_an_input_error(tmp_path):
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(RGB.repeat(6, 0).repeat(6, 1))
    for suffix in (".png", ".jpg"):
        path = tmp_path / f"a{suffix}"
        pixels.save(path)
        whole = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(whole)
            for at in rng.integers(0, len(whole), 3):
                damaged[at] = rng.integers(256)
            path.write_bytes(damaged)
            with warnings.catch_warnings():  # PIL warns about the damage
                warnings.simplefilter("ignore")
                try:
                    assert read_image(path).dtype == np.uint8
                except InputError as error:
                    assert str(path) in str(error)


def test_missing_and_textual_files_are_named(tmp_path):
    (tmp_path / "a.png").write_text("not an image")
    for path in (tmp_path / "a.png", tmp_path / "none.png"):
        for read in (read_image, read_size, lambda p: read_mask(p, 2)):
            with pytest.raises(InputError, match=f"{path.name} cannot be decoded"):
                read(path)
