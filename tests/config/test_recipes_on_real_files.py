"""The papers' recipes, narrow and for two steps, on real files of VOC, ADE20K and Cityscapes.

The samples have no training split, so that their evaluation images are also trained on. Evaluation
follows the protocol of each recipe.
"""

import json
import shutil

import pytest
from PIL import Image

from jaxseg.checkpoint.workdir import Workdir, stage_folders

pytestmark = pytest.mark.nightly
NARROW = ("train.steps=2", "train.batch_size=2", "train.accumulate=1", "model.width=0.03")
FC = ("model.fc_channels=32",)
CROPS = ("augment.crop=(57,57)", "eval.crop=(57,57)")


def voc(data, folder):
    root = shutil.copytree(data / "voc2012_sample", folder / "VOC2012")
    lines = []
    for path in sorted((root / "JPEGImages").glob("*.jpg")):
        with Image.open(path) as photo:
            width, height = photo.size
        lines += [f"{path.stem} {5 * k} {4 * k} {width - 7 * k} {height - 5 * k}" for k in range(6)]
    (root / "boxes.txt").write_text("\n".join(lines))
    return root, ("data.train_split=train", "data.eval_split=val")


def ade20k(data, folder):
    root = shutil.copytree(data / "formats/ade20k", folder / "ade20k")
    for part in ("images", "annotations"):
        shutil.copytree(root / part / "validation", root / part / "training")
    return root, ()


def cityscapes(data, folder):
    root = shutil.copytree(data / "formats/cityscapes", folder / "cityscapes")
    for part in ("leftImg8bit", "gtFine"):
        shutil.copytree(root / part / "val", root / part / "train")
    return root, ()


@pytest.mark.parametrize(
    ("recipe", "files", "fields", "protocol"),
    [
        ("fcn32s.py", voc, FC, "whole"),
        ("fcn8s.py", voc, FC, "whole"),
        ("fcn8s_atonce.py", voc, FC, "whole"),
        ("fcn_alexnet.py", voc, FC, "whole"),
        ("fcn_googlenet.py", voc, (), "whole"),
        ("deconvnet.py:stage_2", voc, (*FC, "data.boxes={root}/boxes.txt"), "whole"),
        ("pspnet_voc2012.py", voc, CROPS, "sliding"),
        ("pspnet_ade20k.py", ade20k, CROPS, "sliding"),
        ("pspnet_ade20k.py:semseg", ade20k, CROPS, "sliding"),
        ("pspnet_cityscapes.py", cityscapes, CROPS, "sliding"),
    ],
)
def test_trains_and_evaluates(
    recipe, files, fields, protocol, shared_data, repository, process, tmp_path
):
    root, splits = files(shared_data, tmp_path)
    given = [f"data.root={root}", *splits, *fields, *NARROW]
    words = [f"--config.{field}".format(root=root) for field in given]
    config, work = f"{repository}/configs/{recipe}", tmp_path / "run"
    training = process("train", "--config", config, *words, "--workdir", work, devices=1)
    _, err = training.communicate(timeout=900)
    assert (training.returncode, err) == (0, "")
    scores = json.loads(Workdir((stage_folders(work) or [work])[-1]).scores.read_text())
    assert scores["step"] == 2 and 0 <= scores["mean_iou"] <= 1
    assert protocol in scores["protocol"]
