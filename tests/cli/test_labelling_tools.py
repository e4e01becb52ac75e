"""The page "From your labelling tool to a trained network", command by command, on toy photos."""

import glob
import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli import run

SMALL = ("--config.model.width=0.03", "--config.model.fc_channels=16", "--config.model.padding=1",
         "--config.train.steps=30", "--config.optim.warmup_steps=0", "--config.train.batch_size=8",
         "--config.augment.crop=(32, 32)",
         "--config.eval.every_steps=None", "--config.augment.scale=(1.0, 1.0)",
         "--config.eval.input_size=None", "--config.init.pretrained=None")  # fmt: skip


@pytest.fixture(scope="module")
def page(repository) -> list[list[str]]:
    """The commands on the page."""
    text = (repository / "docs/tutorials/labelling_tools.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines]


@pytest.fixture
def photos(tmp_path, monkeypatch, repository):
    """The page's folder `photos`: bright squares on dark ground, in COCO JSON."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(repository / "configs")
    (tmp_path / "photos/images").mkdir(parents=True)
    (tmp_path / "photos/annotations").mkdir()
    rng = np.random.default_rng(0)
    for split, numbers in (("train", range(6)), ("val", range(6, 8))):
        images, annotations = [], []
        for i in numbers:
            pixels = rng.integers(0, 90, (36, 40, 3), np.uint8)
            x, y = rng.integers(0, 16, 2).tolist()
            pixels[y : y + 20, x : x + 20] += 150
            Image.fromarray(pixels).save(f"photos/images/{i}.jpg")
            images.append({"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 36})
            square = [x, y, x + 20, y, x + 20, y + 20, x, y + 20]
            annotations.append({"id": i, "image_id": i, "category_id": 1, "iscrowd": 0,
                                "segmentation": [square]})  # fmt: skip
        about = {"images": images, "annotations": annotations,
                 "categories": [{"id": 1, "name": "square"}]}  # fmt: skip
        with open(f"photos/annotations/instances_{split}.json", "w") as file:
            json.dump(about, file)


def follow(command: list[str]) -> int:
    assert command[:3] == ["python", "-m", "jaxseg"], command
    words = [
        w for word in command[3:] for w in (sorted(glob.glob(word)) if "*" in word else [word])
    ]
    return run([*words, *SMALL] if words[0] == "train" else words) or 0


def test_what_is_read_before_training(page, photos, tmp_path, capsys):
    for command in page:
        if command[3] in ("check", "browse"):
            assert follow(command) == 0, capsys.readouterr()
    told = capsys.readouterr().out
    assert "split train: 6 masks" in told and "pixels outside all shapes are background" in told
    assert (tmp_path / "page.html").stat().st_size > 1000


@pytest.mark.slow
def test_the_page(page, photos, tmp_path, capsys):
    commands = ["check", "browse", "train", "prepare", "prepare", "predict"]
    assert [command[3] for command in page] == commands
    for command in page:
        assert follow(command) == 0, capsys.readouterr()
    scores = json.loads((tmp_path / "runs/photos/scores.json").read_text())
    assert 0 < scores["mean_iou"] <= 1
    assert len(list((tmp_path / "labels").glob("*.png"))) >= 8
    assert (tmp_path / "data/coco/records.json").is_file()
