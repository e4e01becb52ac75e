"""Splits by a hash of names: stable, in groups, in folds; omitted files are reported."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.config import default_config
from jaxseg.data import open_data
from jaxseg.data.check import check_data
from jaxseg.data.splits import hashed, share_of
from jaxseg.errors import InputError

NAMES = [f"video{v}_{f:03}" for v in range(40) for f in range(25)]


def share(of, names=NAMES, **fields):
    config = default_config().data
    config.update(fields)
    return share_of(names, str, config, of)


def test_shares_are_what_was_asked_for_and_part_the_whole():
    parts = [share(s, split="7:2:1") for s in ("train", "val", "test")]
    assert sorted(sum(parts, [])) == sorted(NAMES)
    assert [len(p) for p in parts] == pytest.approx([700, 200, 100], abs=45)
    assert len(share("train")) == pytest.approx(800, abs=45)


def test_files_that_are_added_move_no_other():
    assert set(share("val", NAMES[:500])) == set(share("val")) & set(NAMES[:500])
    assert hashed("e\u0301") == hashed("\u00e9")  # as macOS and others write é


def test_groups_stay_together():
    train, val = (share(s, group="video[0-9]+") for s in ("train", "val"))
    assert not {n.split("_")[0] for n in train} & {n.split("_")[0] for n in val}
    assert train and val
    with pytest.raises(InputError, match="does not match the name 'video0_000'"):
        share("val", group="scene")
    with pytest.raises(InputError, match="not a regular expression"):
        share("val", group="(")


def test_folds_score_each_name_once():
    scored = [share("val", fold=f"{k}/5") for k in range(5)]
    assert sorted(sum(scored, [])) == sorted(NAMES)
    assert sorted(scored[2] + share("train", fold="2/5")) == sorted(NAMES)


def test_a_fold_without_images_may_be_left_out():
    names = [f"video{v}_{f}" for v in range(4) for f in range(9)]
    scored = []
    for k in range(5):
        try:
            scored += share("val", names, fold=f"{k}/5", group="video[0-9]+")
        except InputError as error:
            assert "leaves no images for the split 'val': there are 36 images in 4" in str(error)
            assert error.remedy.startswith("Leave this fold out, use fewer, or write lists")
    assert sorted(scored) == names


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"split": "1:0"}, "='1:0' leaves no images for the split 'val'"),
        ({"split": "0.8"}, "config.data.split is '0.8'"),
        ({"split": "0:0"}, "config.data.split is '0:0'"),
        ({"fold": "5/5"}, "config.data.fold is '5/5'"),
        ({"fold": "one"}, "config.data.fold is 'one'"),
    ],
)
def test_bad_settings(fields, text):
    with pytest.raises(InputError, match=text):
        share("val", **fields)


def test_a_split_of_another_name():
    with pytest.raises(InputError, match="no split 'tset'.*'?test"):
        share("tset", split="8:1:1")


@pytest.mark.parametrize("kind", ["folder", "voc_folder"])
def test_folders_without_lists(tmp_path, kind):
    photos, masks = {"folder": ("images", "masks"),
                     "voc_folder": ("JPEGImages", "SegmentationClass")}[kind]  # fmt: skip
    (tmp_path / "classes.txt").write_text("ground\ncat\n")
    rng = np.random.default_rng(0)
    for part in (photos, masks):
        (tmp_path / part).mkdir()
    for name in range(10):
        pixels = rng.integers(0, 256, (4, 5, 3), np.uint8)
        if name == 9:  # the same photo under a second name
            pixels = np.asarray(Image.open(tmp_path / photos / "0.png"))
        Image.fromarray(pixels).save(tmp_path / photos / f"{name}.png")
        Image.fromarray(np.uint8([[0, 1, 0, 1, 0]] * 4)).save(tmp_path / masks / f"{name}.png")
    config = default_config().data
    config.update({"name": kind, "root": str(tmp_path), "split": "6:4"})
    names = [
        {source.name(i) for i in range(len(source))}
        for source in (open_data(config, split) for split in ("train", "eval"))
    ]
    assert names[0] | names[1] == set(map(str, range(10))) and not names[0] & names[1]
    copies = next(k for k in ("leakage", "same photo") if ({"0", "9"} <= names[0] or
                  {"0", "9"} <= names[1]) == (k == "same photo"))  # fmt: skip
    assert [p.kind for p in check_data(config).problems] == [copies]
