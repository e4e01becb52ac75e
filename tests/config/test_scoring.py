"""Scoring by another protocol than the run's own, on the recipes used in README's commands."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli.config_options import read_config, scoring_values
from jaxseg.config import default_config, score_otherwise
from jaxseg.data import open_data
from jaxseg.errors import InputError

RECIPES = [
    f"configs/{name}.py{variant}"
    for name in ("camvid_fcn8s", "camvid_deconvnet", "camvid_pspnet")
    for variant in ("", ":full")
] + ["configs/deconvnet.py:stage_2"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_windows_on_every_recipe(recipe):
    config = read_config(recipe)
    config.unlock()
    overrides = [("eval.protocol", "sliding"), ("eval.flip", "true"), ("eval.scales", "(0.5, 1.0)")]
    score_otherwise(config, scoring_values(overrides))
    assert config.eval.protocol == "sliding" and config.eval.flip
    assert config.eval.crop == config.augment.crop
    assert config.eval.input_size is config.eval.pad_to is None


def test_what_is_given_counts_and_is_checked():
    config = default_config()
    config.eval.input_size = (64, 64)
    score_otherwise(config, {"eval.protocol": "sliding", "eval.crop": (48, 48)})
    assert config.eval.crop == (48, 48)
    score_otherwise(config, {"eval.protocol": "whole"})  # back to the first protocol
    assert config.eval.crop is None
    with pytest.raises(InputError, match="input_size is .* has no effect while eval.protocol"):
        score_otherwise(config, {"eval.protocol": "sliding", "eval.crop": (4, 4),
                                 "eval.input_size": (64, 64)})  # fmt: skip


@pytest.mark.parametrize("layout", ["as published", "VOC"])
@pytest.mark.parametrize("name", ["fcn8s", "deconvnet", "pspnet"])
def test_the_camvid_recipes_read_camvid_in_both_layouts(tmp_path, name, layout):
    folders = {"as published": ("{}", "{}annot"), "VOC": ("JPEGImages", "SegmentationClass")}
    for split in ("train", "val"):
        for folder, shape in zip(folders[layout], [(4, 5, 3), (4, 5)], strict=True):
            path = tmp_path / folder.format(split) / f"{split}0.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full(shape, 11, np.uint8)).save(path)
    if layout == "VOC":
        (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
        for split in ("train", "val"):
            (tmp_path / f"ImageSets/Segmentation/{split}.txt").write_text(f"{split}0\n")
    config = read_config(f"configs/camvid_{name}.py", [("data.root", str(tmp_path))])
    for split in ("train", "eval"):
        source = open_data(config.data, split)
        assert source.info.num_classes == len(config.loss.class_weights or source.info.class_names)
        assert (source[0].label == 255).all()
