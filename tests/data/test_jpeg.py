"""JPEGs have Pillow's pixels, whichever library decodes them, and damaged ones Pillow's verdict."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxseg.data.images import read_image
from jaxseg.data.jpeg import read_plain_jpeg
from jaxseg.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


def encoded(mode="RGB", **how) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, "JPEG", **how)
    return file.getvalue()


TURNED = Image.Exif()
TURNED[274] = 6


@pytest.mark.parametrize(
    "how, plain",
    [
        ({}, True),
        ({"subsampling": 0, "quality": 95, "comment": b"c"}, True),
        ({"subsampling": 1, "progressive": True, "optimize": True}, True),
        ({"restart_marker_rows": 1}, True),
        ({"keep_rgb": True}, False),
        ({"exif": TURNED}, False),
        ({"icc_profile": b"none"}, False),
        ({"mode": "L"}, False),
        ({"mode": "CMYK"}, False),
    ],
)
def test_pixels_are_those_of_pillow(tmp_path, how, plain):
    data = encoded(**how)
    (tmp_path / "a.JPG").write_bytes(data)
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    for path, given in ((tmp_path / "a.JPG", None), ("a", data)):
        np.testing.assert_array_equal(read_image(path, given), want)
        assert (read_plain_jpeg(path, given) is not None) == plain


def test_damaged_files_are_judged_by_pillow(tmp_path):
    data, rng = encoded(), np.random.default_rng(0)
    verdicts = set()
    for case in range(60):
        bad = bytearray(data)
        bad = bad[: rng.integers(2, len(bad))] if case % 2 else bad
        bad[rng.integers(len(bad))] = rng.integers(256)
        try:
            want = np.asarray(Image.open(io.BytesIO(bad), formats=["JPEG"]).convert("RGB"))
        except Exception:  # Pillow has many kinds
            want = None
        try:
            got = read_image("a.jpg", bytes(bad))
        except InputError:
            got = None
        verdicts.add(got is None)
        assert (got is None) == (want is None) and (got is None or (got == want).all())
    assert len(verdicts) == 2
