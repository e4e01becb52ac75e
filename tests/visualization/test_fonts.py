"""Class names in any script are drawn, or replaced by text that distinguishes them."""

import numpy as np
import pytest

from jaxseg.data import DataInfo
from jaxseg.visualization import fonts
from jaxseg.visualization.palette import overlay
from jaxseg.visualization.panel import legend


@pytest.fixture
def alone(monkeypatch):
    """Only jaxseg's own font is available."""
    monkeypatch.setattr(fonts, "_folders", lambda: [])
    fonts._covering.cache_clear()
    yield
    fonts._covering.cache_clear()


@pytest.mark.parametrize("text", ["road", "arbre à feuilles", "дорога", "δρόμος", "طريق", "כביש"])
def test_the_alphabets_of_europe_and_the_near_east_need_no_font(alone, text):
    assert fonts.drawable(text, 13)[0] == text


def test_characters_without_a_font_are_written_as_codes(alone):
    assert fonts.drawable("道路", 13)[0] == "\\u9053\\u8def"


def test_every_letter_is_another_picture(alone):
    """No empty boxes: legends of two different names of the same length differ."""

    def picture(name):
        return np.asarray(legend(DataInfo("d", (name, "b"), ((9, 9, 9), (1, 1, 1))), 300))

    for one, other in (("дом", "лес"), ("道", "路"), ("é", "à")):
        assert not np.array_equal(picture(one), picture(other))


def test_the_background_is_the_photo_alone():
    image, labels = np.full((1, 2, 3), 200, np.uint8), np.uint8([[0, 1]])
    colours = ((0, 0, 0), (100, 0, 0))
    mixed = overlay(image, labels, DataInfo("d", ("background", "cat"), colours))
    assert mixed.tolist() == [[[200, 200, 200], [150, 100, 100]]]
    assert overlay(image, labels, DataInfo("d", ("road", "cat"), colours))[0, 0, 0] == 100


def test_the_font_is_small_enough_to_ship():
    assert fonts._SHIPPED.stat().st_size < 800_000
