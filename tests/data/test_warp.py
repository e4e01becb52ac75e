"""The augmentation's interpolation, against computations that share no code with it."""

import numpy as np
import pytest
import scipy.ndimage

from jaxseg.data.blur import blur
from jaxseg.data.warp import window

FILL = (1, 2, 3)


def coordinates(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image with red = 4 × row and green = 4 × column, and labels of the row and the column."""
    y, x = np.mgrid[:height, :width]
    image = np.dstack([4 * y, 4 * x, np.full_like(y, 255)]).astype(np.uint8)
    return image, y.astype(np.uint8), x.astype(np.uint8)


def sources(height, width, canvas, angle, start, size):
    """The picture's row and column, from its corner, at each pixel of the window."""
    rows, columns = (np.arange(n) + first + 0.5 for n, first in zip(size, start, strict=True))
    place = (columns[None] - canvas[1] / 2) - 1j * (rows[:, None] - canvas[0] / 2)  # y is up
    place = place * np.exp(-1j * np.deg2rad(angle))  # the position before an anticlockwise turn
    return (
        (canvas[0] / 2 - place.imag) * height / canvas[0],
        (canvas[1] / 2 + place.real) * width / canvas[1],
    )


@pytest.fixture(params=["kornia", "pillow", "opencv"])
def backend(request) -> str:
    if request.param == "opencv":
        pytest.importorskip("cv2", reason="needs pip install '.[opencv]'")
    return request.param


@pytest.mark.parametrize("angle", [-10.0, -3.3, 7.7, 90.0])
@pytest.mark.parametrize("canvas", [(40, 60), (29, 33), (77, 121)])
@pytest.mark.parametrize(
    "start, size", [((0, 0), (40, 60)), ((-3, 5), (31, 27)), ((9, 11), (13, 29))]
)
def test_rotation_turns_image_and_label_alike(angle, canvas, start, size, backend):
    image, label_y, label_x = coordinates(40, 60)
    y, x = sources(40, 60, canvas, angle, start, size)
    row, column = np.mgrid[: size[0], : size[1]] + np.array(start)[:, None, None]
    seen = (row >= 0) & (row < canvas[0]) & (column >= 0) & (column < canvas[1])

    def margin(distance):  # at least this many of the picture's pixels inside, and in the canvas
        inside = np.minimum(np.minimum(y, 40 - y), np.minimum(x, 60 - x))
        return (inside > distance) & seen

    how = dict(canvas=canvas, start=start, size=size, angle=angle, backend=backend)
    grid = 0.02 if backend != "opencv" else 1 / 16  # precision of positions, in pixels
    got = window(image, **how, fill=FILL)
    got_y, got_x = (window(label, **how, fill=255) for label in (label_y, label_x))
    assert margin(1).any()
    for labels, where in ((got_y, y), (got_x, x)):
        exact = margin(grid) & (np.abs(where - np.rint(where)) > grid)  # not on a pixel boundary
        np.testing.assert_array_equal(labels[exact], np.floor(where)[exact])
        assert (labels[~margin(-grid)] == 255).all()
    inner = margin(0.5)  # nearer to the edge, the colour of the edge is repeated
    assert np.abs(got[..., 0] / 4 - (y - 0.5))[inner].max() < 0.24 + grid  # rounded to integers
    assert np.abs(got[..., 1] / 4 - (x - 0.5))[inner].max() < 0.24 + grid
    if backend != "opencv":  # the fill never bleeds into the picture
        assert (got[~margin(-grid)] == FILL).all()
        assert set(np.unique(got[..., 2])) <= {255, FILL[2]}
    else:  # except for half a pixel along its edge
        assert (got[~margin(-0.5 - grid)] == FILL).all()
        assert (got[..., 2][margin(0.5 + grid)] == 255).all()


@pytest.mark.parametrize("canvas", [(40, 60), (29, 33), (77, 121)])
@pytest.mark.parametrize("start, size", [((0, 0), (77, 121)), ((-3, 5), (31, 27))])
def test_scaling_keeps_every_edge(canvas, start, size, backend):
    """Without rotation no colour mixes with the fill, and image and label have the same edge."""
    image, label_y, label_x = coordinates(40, 60)
    y, x = sources(40, 60, canvas, 0, start, size)
    how = dict(canvas=canvas, start=start, size=size, backend=backend)
    got = window(image, **how, fill=FILL)
    row, column = np.mgrid[: size[0], : size[1]] + np.array(start)[:, None, None]
    seen = (row >= 0) & (row < canvas[0]) & (column >= 0) & (column < canvas[1])
    assert (got[..., 2][seen] == 255).all() and (got[~seen] == FILL).all()
    levels = 0.26 if backend == "pillow" else 0.35
    for channel, label, where, last in ((0, label_y, y, 39), (1, label_x, x, 59)):
        expected = np.clip(where - 0.5, 0, last)
        assert np.abs(got[..., channel] / 4 - expected)[seen].max() < levels
        nearest = window(label, **how, fill=255)
        off_borders = np.abs(where - np.rint(where)) > 1 / 16
        assert (nearest == np.floor(where))[seen & off_borders].all()
        assert (nearest[~seen] == 255).all()


@pytest.mark.parametrize(
    "canvas, angle", [((90, 120), 7.0), ((61, 83), -9.0), ((170, 190), 0.0), ((90, 120), 0.0)]
)
def test_backends_agree(canvas, angle):
    pytest.importorskip("cv2", reason="needs pip install '.[opencv]'")
    rng = np.random.default_rng(0)
    image = blur(blur(rng.integers(0, 256, (90, 120, 3), np.uint8)))
    how = dict(canvas=canvas, start=(3, -5), size=(50, 80), angle=angle, fill=FILL, blurred=True)
    a, b = (window(image, **how, backend=name).astype(int) for name in ("kornia", "opencv"))
    inner = slice(12, 36), slice(24, 66)  # away from uncovered corners
    assert np.abs(a - b)[inner].max() <= (0 if canvas == (90, 120) and not angle else 3)


def test_an_image_turns_anticlockwise():
    pixels = np.zeros((9, 9), np.uint8)
    pixels[4, 8] = 7  # at three o'clock
    turned = window(pixels, (9, 9), (0, 0), (9, 9), fill=255, angle=90)
    assert np.argwhere(turned == 7).tolist() == [[0, 4]]  # at twelve


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (2, 3, 3), (5, 4, 3), (33, 47, 3)])
def test_blur_is_the_binomial_kernel(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    exact = pixels.astype(np.float64)
    for axis in (0, 1):
        exact = scipy.ndimage.correlate1d(exact, [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], axis,
                                          mode="mirror")  # fmt: skip
    np.testing.assert_array_equal(blur(pixels), np.floor(exact + 0.5))


def test_blur_keeps_extremes():
    for value in (0, 255):
        assert (blur(np.full((6, 5, 3), value, np.uint8)) == value).all()


@pytest.mark.parametrize("canvas, angle", [((20, 31), 0), ((33, 45), 0), ((33, 45), 8.0)])
@pytest.mark.parametrize("start", [(0, 0), (3, 5), (-4, 7), (15, -2)])
def test_a_blurred_window_is_a_window_of_the_blurred_canvas(canvas, angle, start):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)
    whole = blur(window(pixels, canvas, (0, 0), canvas, fill=FILL, angle=angle))
    expected = window(whole, canvas, start, (17, 19), fill=FILL)
    got = window(pixels, canvas, start, (17, 19), fill=FILL, angle=angle, blurred=True)
    # the same position is computed by other sums, which may round to the next level
    np.testing.assert_allclose(got.astype(int), expected, atol=1 if canvas != (20, 31) else 0)


@pytest.mark.parametrize("backend, levels", [("pillow", 0), ("kornia", 1)])
def test_mirroring_is_the_last_step(backend, levels):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)
    how = dict(canvas=(27, 26), start=(-3, 4), size=(30, 11), fill=FILL, angle=5.0, blurred=True)
    how["backend"] = backend
    mirrored, plain = (window(pixels, **how, mirrored=m).astype(int) for m in (True, False))
    assert np.abs(mirrored - plain[:, ::-1]).max() <= levels


def test_kornia_agrees_with_pillow():
    """Within three levels for white noise, and with the same edges."""
    pixels = np.random.default_rng(0).integers(0, 256, (61, 47, 3), np.uint8)
    for canvas, angle in [((90, 70), 9.0), ((31, 24), -170.0), ((122, 94), 0.0)]:
        for start in [(-20, -30), (5, 9)]:
            how = dict(canvas=canvas, start=start, size=(70, 50), angle=angle, fill=(0, 0, 0))
            a, b = (window(pixels, **how, backend=b).astype(int) for b in ("kornia", "pillow"))
            assert np.abs(a - b).max() <= 3 and ((a == 0).all(-1) == (b == 0).all(-1)).all()


def test_the_input_is_not_modified():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    pixels.flags.writeable = False
    copy = window(pixels, (8, 9), (0, 0), (8, 9), fill=FILL)
    copy[...] = 0
    assert pixels.any()
