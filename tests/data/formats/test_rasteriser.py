"""Outlines and run lengths become pixels as in pycocotools and Pillow."""

import numpy as np
import pytest

from jaxseg.data.formats.polygons import Figure, Polygons, box, ellipse, fill
from jaxseg.data.formats.runs import Alpha, coco_runs, decode_counts, runs
from jaxseg.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
coco = pytest.importorskip("pycocotools.mask", reason="pip install -e '.[test]'")


def reference(points: np.ndarray, height: int, width: int) -> np.ndarray:
    return coco.decode(coco.frPyObjects([points.ravel().tolist()], height, width))[..., 0] > 0


def random_polygon(rng, height: int, width: int) -> np.ndarray:
    """A polygon of 3 to 12 points: self-crossing, partly outside, partly on whole pixels."""
    points = rng.uniform(-0.3, 1.3, (rng.integers(3, 13), 2)) * (width, height)
    points = points.round() if rng.random() < 0.3 else points
    return np.repeat(points, 2, 0) if rng.random() < 0.1 else points


def test_polygons_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    for _ in range(600):
        height, width = rng.integers(1, 60, 2)
        points = random_polygon(rng, height, width)
        expected = reference(points, height, width)
        np.testing.assert_array_equal(fill(points, height, width), expected, repr(points))


def test_union_and_holes():
    outer, inner, aside = box(1, 1, 9, 9), box(3, 3, 6, 6), box(10, 0, 12, 2)
    mask = Polygons([outer, aside], [inner]).mask(10, 14)
    assert mask.sum() == 64 + 4 - 9
    assert not mask[4, 4] and mask[1, 1] and mask[0, 10]


def test_compressed_run_lengths_are_those_of_pycocotools():
    rng = np.random.default_rng(0)
    for density in (0.02, 0.5, 0.98):
        mask = rng.random((37, 53)) < density
        rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        rle["counts"] = rle["counts"].decode()
        np.testing.assert_array_equal(coco_runs(rle, (37, 53), "it").mask(37, 53), mask)


def test_run_lengths_that_do_not_cover_the_image():
    for counts in ("0", "02", "0P", "~", "", [5, 5], [-1, 13]):
        with pytest.raises(InputError, match="annotation 7"):
            coco_runs({"size": [3, 4], "counts": counts}, (3, 4), "annotation 7")


def test_run_lengths_of_another_image():
    with pytest.raises(InputError, match="4 wide and 3 high, but the image is 3 wide and 4 high"):
        coco_runs({"size": [3, 4], "counts": [12]}, (4, 3), "it")


def test_a_window_by_rows_may_stick_out():
    window = runs([0, 4], 2, 2, "it", by_columns=False, left=3, top=-1)
    assert np.argwhere(window.mask(3, 4)).tolist() == [[0, 3]]
    assert decode_counts("", "it") == []


def pack(values: np.ndarray) -> bytes:
    """Label Studio's packing, from its description: 8 bits a value, runs of up to 2**16."""
    bits, at = f"{values.size:032b}{7:05b}{0:04b}{0:04b}{3:04b}{15:04b}", 0
    while at < values.size:
        end = at + 1
        while end < values.size and values[end] == values[at] and end - at < 2**16:
            end += 1
        if end - at > 1:
            bits += f"1{3:02b}{end - at - 1:016b}{values[at]:08b}"
        else:  # values without a run
            end = min(at + 3, values.size)
            bits += f"0{2:02b}{end - at - 1:04b}" + "".join(f"{v:08b}" for v in values[at:end])
        at = end
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def test_brush_strokes():
    rng = np.random.default_rng(1)
    alpha = rng.choice(np.uint8([0, 0, 0, 90, 255]), (9, 7))
    rle = pack(np.repeat(alpha, 4))
    np.testing.assert_array_equal(Alpha(rle, 9, 7, "it").mask(9, 7), alpha > 0)
    for damaged in (rle[:40], rle[:3], b"", b"\xff" * 30):
        with pytest.raises(InputError, match="it "):
            Alpha(damaged, 9, 7, "it").mask(9, 7)
    with pytest.raises(InputError, match="63 pixels, but its image has 64"):
        Alpha(rle, 8, 8, "it").mask(8, 8)


def test_figures():
    circle = Figure("circle", np.array([[10.0, 10], [14, 10]])).mask(21, 21)
    assert circle.sum() == pytest.approx(np.pi * 4.5**2, rel=0.06)
    assert circle[10, 14] and not circle[10, 15]
    assert Figure("rectangle", np.array([[5.0, 6], [2, 3]])).mask(9, 9).sum() == 16
    assert Figure("line", np.array([[0.0, 4], [8, 4]]), 3).mask(9, 9).sum() == 27
    assert Figure("point", np.array([[4.0, 4]]), 2).mask(9, 9).sum() == 21
    assert Figure("polygon", np.array([[1.0, 1], [4, 1], [4, 3]])).mask(5, 6)[1].sum() == 4


def test_a_turned_ellipse_stays_as_large():
    level, upright = (fill(ellipse(20, 20, 10, 4, a), 40, 40) for a in (0, 90))
    assert level.sum() == pytest.approx(np.pi * 40, rel=0.03)
    np.testing.assert_array_equal(level[20], upright[:, 20])
