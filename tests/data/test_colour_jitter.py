import colorsys
import dataclasses

import numpy as np
import pytest

from jaxseg.data import Augment, Example
from jaxseg.data.colour_jitter import ColourJitter
from jaxseg.errors import InputError

PIL_ENHANCE = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color"}


@pytest.fixture
def image():
    return np.random.default_rng(3).integers(30, 200, (13, 17, 3)).astype(np.uint8)


class Numbers:
    """A generator of given numbers; `uniform` takes each as a fraction of its range."""

    def __init__(self, *places: float):
        self._places = list(places)

    def uniform(self, low, high):
        return low + self._places.pop(0) * (high - low)

    def random(self):
        return self._places.pop(0)


@pytest.mark.parametrize("slot, name", list(enumerate(PIL_ENHANCE)))
@pytest.mark.parametrize("place", [0.0, 0.3, 0.9])
def test_each_amount_is_pillows_of_that_name(image, slot, name, place):
    from PIL import Image, ImageEnhance

    places = [0.5] * 5
    places[slot] = place
    out = ColourJitter(**{name: 0.4})(image, Numbers(*places))
    enhance = getattr(ImageEnhance, PIL_ENHANCE[name])(Image.fromarray(image))
    want = np.asarray(enhance.enhance(0.6 + 0.8 * place))
    assert np.abs(out.astype(int) - want).max() <= 1
    assert (out != image).any()


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.1, 0.37])
def test_hue_turns_in_yiq_and_keeps_the_brightness(turn):
    colours = np.random.default_rng(5).integers(90, 160, (40, 1, 3)).astype(np.uint8)
    out = ColourJitter(hue=0.5)(colours, Numbers(0.5, 0.5, 0.5, turn + 0.5, 0.5))
    for before, after in zip(colours[:, 0] / 255, out[:, 0] / 255, strict=True):
        y, i, q = colorsys.rgb_to_yiq(*before)
        brightness, red, blue = colorsys.rgb_to_yiq(*after)
        assert abs(brightness - y) < 0.005
        turned = complex(i, q) * np.exp(2j * np.pi * turn)
        assert abs(complex(red, blue) - turned) < 0.02


def test_grey_images_keep_saturation_and_hue():
    grey = np.repeat(np.arange(0, 250, 5, dtype=np.uint8)[:, None, None], 3, axis=2)
    out = ColourJitter(saturation=1.0, hue=0.5)(grey, np.random.default_rng(0))
    np.testing.assert_array_equal(out, grey)
    image = np.random.default_rng(1).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    out = ColourJitter(grayscale=1.0)(image, np.random.default_rng(0))
    assert (out[..., 0] == out[..., 1]).all() and (out[..., 0] == out[..., 2]).all()
    assert np.abs(out[..., 0] - image @ [0.299, 0.587, 0.114]).max() < 0.51


def test_colours_are_clipped_not_wrapped():
    image = np.array([[[0, 128, 255]]], np.uint8)
    out = ColourJitter(brightness=1.0)(image, Numbers(1.0, 0.5, 0.5, 0.5, 0.5))
    assert out.tolist() == [[[0, 255, 255]]]


def test_augment_changes_the_colours_and_nothing_else():
    rng = np.random.default_rng
    example = Example(
        rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8),
        rng(1).integers(0, 5, (20, 30)).astype(np.uint8),
        "a",
    )
    plain = Augment(crop=(9, 11), scale=(0.5, 2.0), flip=0.5, rotation=10)
    colours = dataclasses.replace(plain, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1)
    changed = 0
    for seed in range(10):
        before, after = plain(example, rng(seed)), colours(example, rng(seed))
        np.testing.assert_array_equal(before.label, after.label)
        changed += (before.image != after.image).any()
        again = colours(example, rng(seed))
        np.testing.assert_array_equal(again.image, after.image)
    assert changed == 10


def test_a_crop_that_one_class_fills_is_drawn_again():
    label = np.zeros((40, 40), np.uint8)
    label[:, 30:] = 1
    label[:3] = 255
    example = Example(np.repeat(label[..., None], 3, axis=2), label, "a")

    def shares(**fields):
        crops = [
            Augment(crop=(10, 10), **fields)(example, np.random.default_rng(seed)).label
            for seed in range(200)
        ]
        return np.array(
            [np.bincount(c[c < 255], minlength=2).max() / (c < 255).sum() for c in crops]
        )

    # A crop begins in one of 31 columns; in five of them no class covers more than 0.75. One draw
    # fails with probability 26 / 31 = 0.84, ten in a row with 0.17.
    assert (shares() > 0.75).mean() > 0.7
    assert (shares(max_class_share=0.75) > 0.75).mean() < 0.25


@pytest.mark.parametrize(
    "fields",
    [{"brightness": -0.1}, {"contrast": float("inf")}, {"hue": 0.6}, {"grayscale": 2.0}],
)
def test_values_out_of_range(fields):
    (name,) = fields
    with pytest.raises(InputError, match=f"augment.{name}"):
        Augment(**fields)
    with pytest.raises(InputError, match="augment.max_class_share"):
        Augment(max_class_share=0.0)
