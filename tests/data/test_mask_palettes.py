"""Masks whose palettes give an index different colours: each file is fine, the set is not."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.config import default_config, set_field
from jaxseg.data import first_look, open_data
from jaxseg.data.check import check_data
from jaxseg.errors import InputError

COLOURS = [(0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200)]


def folder(root, convert, masks):
    """Writes colour masks, converted to indices by `convert`; returns the folder's config."""
    for split in ("train", "val"):
        for part in ("images", "masks"):
            (root / part / split).mkdir(parents=True)
        for i, classes in enumerate(masks):
            mask = np.repeat(np.uint8(classes), 4)[None].repeat(4, axis=0)
            convert(mask, i).save(root / f"masks/{split}/{i}.png")
            noise = np.random.default_rng([i, split == "val"]).integers(0, 255, (*mask.shape, 3))
            Image.fromarray(np.uint8(noise)).save(root / f"images/{split}/{i}.png")
    (root / "classes.txt").write_text("back\nred\ngreen\nblue\n")
    config = default_config()
    set_field(config, "data.name", "folder")
    set_field(config, "data.root", str(root))
    return config.data


def adaptive(mask, _):
    return Image.fromarray(np.uint8(COLOURS)[mask]).quantize(colors=4)


def with_palette(colours):
    def convert(mask, _):
        image = Image.fromarray(mask)
        image.putpalette(np.uint8(colours).tobytes())
        return image

    return convert


MASKS = [(0, 1), (0, 2), (1, 3), (0, 1, 2, 3), (2, 3)]


def test_an_adaptive_conversion_is_found_by_check_and_refused_by_training(tmp_path):
    config = folder(tmp_path, adaptive, MASKS)
    (problem,) = (p for p in check_data(config).problems if p.kind == "palette")
    assert ".png" in problem.text and "with one table" in problem.remedy
    with pytest.raises(InputError, match=r"The colour \(.*\) is index"):
        first_look(open_data(config, "train"))


@pytest.mark.parametrize("masks", [MASKS, [(0, 1, 2, 3)] * 3])
def test_consistent_palettes_are_accepted(tmp_path, masks):
    config = folder(tmp_path, with_palette(COLOURS), masks)
    assert not check_data(config).problems
    assert first_look(open_data(config, "train")) == []


def test_two_consistent_palettes_give_a_hint_and_train(tmp_path):
    one, other = with_palette(COLOURS), with_palette([(9, 9, 9), *COLOURS[:0:-1]])
    config = folder(tmp_path, lambda mask, i: (one if i < 3 else other)(mask, i), MASKS)
    assert "palette" in {p.kind for p in check_data(config).problems}
    (hint,) = first_look(open_data(config, "train"))
    assert hint.startswith("hint: ") and "index" in hint


def test_grey_masks_match_any_palette(tmp_path):
    grey, one = with_palette([(i, i, i) for i in range(256)]), with_palette(COLOURS)
    kinds = (lambda mask, _: Image.fromarray(mask), grey, one)
    config = folder(tmp_path, lambda mask, i: kinds[i % 3](mask, i), MASKS)
    assert not check_data(config).problems
