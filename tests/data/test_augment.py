import dataclasses

import numpy as np
import pytest

from jaxseg.data import Augment, Example, resize_image
from jaxseg.data.blur import blur
from jaxseg.data.warp import window
from jaxseg.errors import InputError

FILL = (1, 2, 3)


def coordinates(height: int, width: int) -> Example:
    """An image whose pixels hold their own coordinates; the label holds the same."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return Example(
        np.dstack([y, x, np.full_like(y, 200)]), (y * width + x).astype(np.uint8) % 251, "c"
    )


def run(augment: Augment, example: Example, seed: int) -> Example:
    out = augment(example, np.random.default_rng(seed))
    assert out.image.dtype == out.label.dtype == np.uint8
    assert out.image.flags.c_contiguous and out.label.flags.c_contiguous
    assert out.name == example.name
    return out


@pytest.mark.parametrize("crop", [(5, 7), (11, 13), (20, 9), (3, 30), (1, 1), (40, 40)])
def test_at_scale_1_pixels_are_copied(crop):
    example = coordinates(11, 13)
    for seed in range(20):
        image, label, _ = run(Augment(crop, flip=0.5, fill=FILL), example, seed)
        assert (image.shape, label.shape) == ((*crop, 3), crop)
        inside = image[..., 2] == 200
        assert (image[~inside] == FILL).all()
        assert (label[~inside] == 255).all()
        y, x = image[inside][:, 0], image[inside][:, 1]
        np.testing.assert_array_equal(label[inside], example.label[y, x])
        # everything that fits is there, and neighbours stay neighbours, maybe mirrored
        assert inside.sum() == min(crop[0], 11) * min(crop[1], 13)
        block = image[inside.any(1)][:, inside.any(0)].astype(int)
        assert (np.diff(block[..., 0], axis=0) == 1).all()
        assert set(np.diff(block[..., 1], axis=1).ravel()) in ({1}, {-1}, set())


def test_crops_reach_every_corner_and_padding_goes_everywhere():
    example = coordinates(8, 9)
    starts = {tuple(run(Augment((6, 7)), example, s).image[0, 0, :2]) for s in range(200)}
    assert starts == {(y, x) for y in range(3) for x in range(3)}
    corners = {
        tuple(np.argwhere(run(Augment((10, 10)), example, s).image[..., 2] == 200)[0])
        for s in range(200)
    }
    assert corners == {(y, x) for y in range(3) for x in range(2)}


@pytest.mark.parametrize("scale", [0.37, 0.5, 0.8, 1.3, 2.0, 3.1])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_image_and_label_move_together(scale, flip):
    height, width = 40, 60
    y, x = np.mgrid[:height, :width]
    ramp = np.dstack([4 * y, 4 * x, np.full_like(y, 255)]).astype(np.uint8)
    label_y, label_x = (
        Example(ramp, y.astype(np.uint8), "y"),
        Example(ramp, x.astype(np.uint8), "x"),
    )
    for seed in range(5):
        augment = Augment((50, 50), (scale, scale), flip, fill=(0, 0, 0))
        image, got_y, _ = run(augment, label_y, seed)
        _, got_x, _ = run(augment, label_x, seed)
        inside = image[..., 2] == 255  # the blue ramp is flat: fill never bleeds into the image
        assert set(np.unique(image[..., 2])) <= {0, 255}
        np.testing.assert_array_equal(inside, got_y != 255)
        np.testing.assert_array_equal(inside, got_x != 255)
        # bilinear reads the exact position, nearest the pixel it falls into: at most half apart
        assert np.abs(image[..., 0] / 4 - got_y)[inside].max() <= 0.5 + 0.25
        assert np.abs(image[..., 1] / 4 - got_x)[inside].max() <= 0.5 + 0.25
        expected = min(50, round(height * scale)) * min(50, round(width * scale))
        assert inside.sum() == expected


def test_enlarging_interpolates_at_pixel_centres():
    example = Example(np.array([[[0] * 3, [100] * 3]], np.uint8), np.array([[3, 9]], np.uint8), "a")
    image, label, _ = run(Augment((2, 4), (2, 2)), example, 0)
    np.testing.assert_array_equal(image[0, :, 0], [0, 25, 75, 100])
    np.testing.assert_array_equal(label, [[3, 3, 9, 9]] * 2)


RECIPES = {
    "pspnet": Augment((47, 47), (0.5, 2), 0.5, rotation=10, blur=0.5, padding="centre", fill=FILL),
    "deconvnet": Augment(resize=(50, 50), crop=(44, 44), flip=0.5),
    "fcn": Augment(),
    "all": Augment((24, 30), (0.3, 2.5), 0.5, 180, 0.9, 0.9, (37, 21)),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_labels_never_gain_values(recipe):
    rng = np.random.default_rng(0)
    for seed in range(60):
        values = rng.choice(255, rng.integers(1, 5), replace=False)
        label = rng.choice(values, rng.integers(1, 60, 2)).astype(np.uint8)
        example = Example(rng.integers(0, 256, (*label.shape, 3), np.uint8), label, "a")
        out = run(RECIPES[recipe], example, seed)
        assert set(np.unique(out.label)) <= {*values, 255}


class Numbers:
    """A generator that returns the given numbers in turn."""

    def __init__(self, mirrored, scale, y, x, rotated, angle, blurred):
        self.left = [0.0 if mirrored else 0.99, scale, y, x]
        self.left += [0.0 if rotated else 0.99, angle, 0.0 if blurred else 0.99]

    def random(self):
        return self.left.pop(0)

    def uniform(self, low, high):
        value = self.left.pop(0)
        assert low <= value <= high
        return value


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("size, scale", [((30, 41), 0.5), ((31, 40), 1.4), ((90, 121), 0.7)])
def test_pspnet_scales_turns_blurs_mirrors_pads_and_crops_in_this_order(
    mirrored, rotated, size, scale
):
    rng = np.random.default_rng(0)
    example = Example(
        rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 9, size).astype(np.uint8), "a"
    )
    canvas = [round(n * scale) for n in size]
    numbers = Numbers(mirrored, scale, 0.3, 0.6, rotated, 0.8, True)
    got = RECIPES["pspnet"](example, numbers)
    assert not numbers.left

    # step by step over the whole picture; only the first step uses our own function
    how = dict(canvas=tuple(canvas), start=(0, 0), size=canvas, angle=8.0 * rotated)
    label = window(example.label, **how, fill=255)
    image = blur(window(example.image, **how, fill=FILL))
    if mirrored:
        image, label = image[:, ::-1], label[:, ::-1]
    pads = [max(0, 47 - n) for n in canvas]
    before_after = [(pad // 2, pad - pad // 2) for pad in pads]
    label = np.pad(label, before_after, constant_values=255)
    image = np.dstack([np.pad(image[..., c], before_after, constant_values=FILL[c])
                       for c in range(3)])  # fmt: skip
    starts = [
        int(u * (n - 47 + 1)) if n > 47 else 0 for n, u in zip(canvas, (0.3, 0.6), strict=True)
    ]
    if mirrored and canvas[1] > 47:
        starts[1] = canvas[1] - 47 - starts[1]
    rows, columns = (slice(s, s + 47) for s in starts)
    assert (got.label != label[rows, columns]).mean() < 2e-3  # positions on a pixel boundary
    assert np.abs(got.image.astype(int) - image[rows, columns]).max() <= 1


def test_how_often_pspnet_turns_blurs_and_mirrors():
    y, x = np.mgrid[:47, :47]
    noise = np.random.default_rng(0).integers(0, 2, (47, 47)) * 200
    example = Example(
        np.dstack([noise, 5 * y, 5 * x]).astype(np.uint8), np.zeros((47, 47), np.uint8), "a"
    )
    recipe = dataclasses.replace(RECIPES["pspnet"], scale=(1.0, 1.0))
    outs = [run(recipe, example, seed) for seed in range(400)]
    angles = []
    for image, label, _ in outs:
        slope = np.polyfit(np.arange(13), image[17:30, 23, 2].astype(float) / 5, 1)[0]
        if (label == 255).any():
            angles.append(np.rad2deg(np.arcsin(np.clip(slope, -1, 1))))
    blurred = [len(np.unique(o.image[20:28, 20:28, 0])) > 2 for o in outs if (o.label == 0).all()]
    mirrored = [o.image[23, 30, 2] < o.image[23, 16, 2] for o in outs]
    assert 130 < len(angles) < 190  # half, minus the fifth whose angle is too small to detect
    assert -11 < min(angles) < -9 and 9 < max(angles) < 11 and abs(np.mean(angles)) < 1.5
    assert 0.4 < np.mean(blurred) < 0.6
    assert 0.4 < np.mean(mirrored) < 0.6


def test_deconvnet_squeezes_to_a_square_and_cuts_at_random():
    y, x = np.mgrid[:100, :200]
    example = Example(
        np.dstack([2 * y, x, np.full_like(y, 9)]).astype(np.uint8), x.astype(np.uint8), "a"
    )
    starts = set()
    for seed in range(500):
        out = run(dataclasses.replace(RECIPES["deconvnet"], flip=0.0), example, seed)
        assert out.label.shape == (44, 44)
        assert (np.diff(out.label.astype(int), axis=1) == 4).all()  # 200 columns become 50
        assert (np.abs(np.diff(out.image[..., 0].astype(int), axis=0) - 4) <= 1).all()
        starts.add((out.image[0, 0, 0] // 4, out.label[0, 0] // 4))
    assert {s for s, _ in starts} == {s for _, s in starts} == set(range(7))
    assert len(starts) == 49


def test_resizing_without_a_crop():
    out = run(Augment(resize=(6, 8), flip=0.5), coordinates(12, 4), 0)
    assert out.image.shape == (6, 8, 3)


def test_another_ignore_label_fills():
    out = run(
        Augment((9, 9), ignore_label=0),
        Example(np.ones((2, 2, 3), np.uint8), np.ones((2, 2), np.uint8), "a"),
        0,
    )
    assert (out.label == 0).sum() == 77


def test_without_crop_only_the_flip_applies():
    example = coordinates(7, 5)
    mirrored = [run(Augment(None, flip=0.3), example, s).image[0, 0, 1] == 4 for s in range(300)]
    assert 60 < sum(mirrored) < 120
    out = run(Augment(None, flip=1.0), example, 0)
    np.testing.assert_array_equal(out.image, example.image[:, ::-1])
    np.testing.assert_array_equal(out.label, example.label[:, ::-1])
    np.testing.assert_array_equal(run(Augment(), example, 0).image, example.image)


def test_the_result_is_a_function_of_the_generator():
    example = coordinates(30, 40)
    augment = Augment((16, 16), (0.5, 2), 0.5)
    one, two, other = (run(augment, example, s) for s in (5, 5, 6))
    np.testing.assert_array_equal(one.image, two.image)
    assert not np.array_equal(one.image, other.image)


def test_tiny_images_survive_shrinking():
    out = run(Augment((3, 3), (0.1, 0.1)), coordinates(2, 1), 0)
    assert (out.label != 255).sum() == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"crop": (0, 4)}, r"augment.crop is \(0, 4\)"),
        ({"crop": (65,)}, r"augment.crop is \(65,\)"),
        ({"crop": (6.5, 4)}, "two integers"),
        ({"crop": (4, 4), "scale": (2.0, 1.0)}, r"augment.scale is \(2.0, 1.0\)"),
        ({"crop": (4, 4), "scale": (0.0, 1.0)}, "0 < lowest"),
        ({"crop": (4, 4), "scale": (1.0,)}, "augment.scale"),
        ({"scale": (0.5, 1.0)}, "without augment.crop"),
        ({"flip": 1.5}, "augment.flip is 1.5"),
        ({"blur": -0.1}, "augment.blur is -0.1"),
        ({"rotation_probability": 2}, "augment.rotation_probability is 2"),
        ({"rotation": -10}, "augment.rotation is -10"),
        ({"resize": (250, 0)}, "augment.resize is"),
        ({"padding": "center"}, "augment.padding is 'center'. Did you mean 'centre'"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(InputError, match=message):
        Augment(**arguments)


def test_resize_image():
    image = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
    assert resize_image(image, (10, 14)) is image
    assert resize_image(image, (5, 28)).shape == (5, 28, 3)
    ramp = np.array([[[0] * 3, [100] * 3]], np.uint8)
    np.testing.assert_array_equal(resize_image(ramp, (1, 4))[0, :, 0], [0, 25, 75, 100])
    stripes = np.tile(np.array([[[0] * 3, [200] * 3]], np.uint8), (8, 8, 1))
    assert (resize_image(stripes, (4, 4))[:, 1:-1] == 100).all()  # averaged, not skipped
    with pytest.raises(InputError, match="The size"):
        resize_image(image, (0, 3))
