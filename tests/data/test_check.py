"""`check` on a data set with every defect at once: all are found, each with its file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli import run
from jaxseg.config import default_config
from jaxseg.data.check import check_data
from jaxseg.errors import InputError


@pytest.fixture
def folder(tmp_path) -> Path:
    """A correct data set: three classes, four training and two evaluation photos."""
    root = tmp_path / "mine"
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for part in ("images", "masks"):
            (root / part / split).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
            Image.fromarray(pixels).save(root / f"images/{split}/{split}{i}.png")
            mask(root, f"{split}/{split}{i}", [[0, 1, 2, 255, 0, 0, 1, 0]] * 6)
    (root / "classes.txt").write_text("ground\ncat\ndog\n")
    return root


def mask(root: Path, name: str, values) -> None:
    Image.fromarray(np.asarray(values, np.uint8)).save(root / f"masks/{name}.png")


def report(root: Path, **fields):
    config = default_config().data
    config.update({"name": "folder", "root": str(root), **fields})
    return check_data(config)


def kinds(found) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for problem in found:
        result.setdefault(problem.kind, []).append(Path(problem.file).name)
    return result


def test_names_from_files_cannot_forge_lines(folder, capsys):
    name = "a\nfix: run this\x1b[2K"
    Image.new("RGB", (8, 6)).save(folder / f"images/train/{name}.png")
    (folder / "classes.txt").write_text("ground\ncat\x1b[2K\ndog\n")
    assert run(["check", "--data", "folder", "--root", str(folder)]) == 2
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\nfix:" not in out and r"a\nfix: run this" in out


def test_nothing_is_wrong(folder):
    found = report(folder)
    assert (found.problems, found.notes) == ([], [])
    assert list(found.splits) == ["train", "val"]
    train = found.splits["train"]
    assert (train.images, train.ignored, train.pixels.tolist()) == (4, 24, [96, 48, 24])


def test_everything_wrong_at_once(folder):
    images, masks = folder / "images", folder / "masks"
    (images / "train/train0.png").write_bytes(b"nothing")  # both photo and mask are bad
    mask(folder, "train/train0", np.zeros((6, 8, 3)))
    mask(folder, "train/train1", [[0, 7, 250, 0, 0, 0, 0, 0]] * 6)
    mask(folder, "train/train2", np.full((6, 8), 255))
    mask(folder, "train/train3", np.zeros((9, 6)))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = Image.open(images / "train/train3.png").copy()
    pixels.save(images / "train/train3.png", exif=exif)
    pixels.save(images / "val/copy.png")  # the same pixels in another file
    mask(folder, "val/copy", np.zeros((6, 8)))
    pixels.save(images / "val/again.bmp")
    mask(folder, "val/again", np.zeros((6, 8)))
    (masks / "train/lonely.png").write_bytes((masks / "val/val0.png").read_bytes())
    (images / "val/val1.jpg").write_bytes(b"")
    found = report(folder)
    assert kinds(found.problems) == {
        "unpaired": ["lonely.png"],
        "photo": ["train0.png", "val1.jpg"],
        "mask": ["train0.png"],
        "values": ["train1.png"],
        "all ignored": ["train2.png"],
        "size": ["train3.png"],
        "absent class": ["train", "train"],
        "duplicate": ["val1.png"],
        "leakage": ["again.bmp", "copy.png"],
    }
    texts = {p.kind: f"{p.text} {p.remedy}" for p in found.problems}
    assert "contains colours" in texts["mask"] and "cannot be decoded" in texts["photo"]
    assert "contains the values 7, 250" in texts["values"] and "9 high" in texts["size"]
    assert "train3.png" in texts["leakage"] and "split 'train'" in texts["leakage"]
    assert found.splits["train"].images == 2  # only those with valid masks


def test_copies_in_one_split_are_found(folder):
    copy = folder / "images/train/copy.png"
    copy.write_bytes((folder / "images/train/train2.png").read_bytes())
    mask(folder, "train/copy", np.zeros((6, 8)))
    found = report(folder)
    assert kinds(found.problems) == {"same photo": ["train2.png"]}


def test_masks_that_another_option_would_read(folder):
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            mask(folder, f"{split}/{split}{i}", [[0, 1, 2, 3, 0, 0, 1, 0]] * 6)
    found = report(folder)
    assert len(kinds(found.problems)["values"]) == 6
    assert all("mask_values='zero_is_void'" in p.remedy for p in found.problems[:6])
    assert report(folder, mask_values="zero_is_void").problems == []

    (folder / "classes.txt").write_text("ground\nroad\n")
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            mask(folder, f"{split}/{split}{i}", [[0, 255, 0, 0, 0, 0, 0, 0]] * 6)
    found = report(folder)
    assert kinds(found.problems) == {"absent class": ["train"], "binary masks": ["mine"]}
    assert "mask_values='binary'" in found.problems[-1].remedy
    assert report(folder, mask_values="binary").problems == []


def test_a_split_that_is_not_there_does_not_hide_the_others(folder):
    mask(folder, "train/train1", np.full((6, 8), 3))
    found = report(folder, eval_split="test")
    assert set(kinds(found.problems)) == {"split", "values"}
    with pytest.raises(InputError, match="no list .*one.txt"):
        report(folder, train_split="one", eval_split="two")
    with pytest.raises(InputError, match="There is no folder"):
        report(folder / "none")


def test_an_empty_split_is_a_problem(folder):
    for part in ("images", "masks"):
        (folder / part / "test").mkdir()
    assert kinds(report(folder, eval_split="test").problems) == {"split": ["test"]}


def test_published_sizes_are_noted(shared_data):
    config = default_config().data
    config.update({"name": "ade20k", "root": str(shared_data / "formats/ade20k")})
    found = check_data(config, ["val"])
    assert "size of split" in kinds(found.notes)
    assert any("but the published one has 2,000" in p.text for p in found.notes)


def test_generated_scenes_are_in_order():
    config = default_config().data
    config.update({"scenes_train": 20, "scenes_eval": 8, "scenes_size": (32, 32)})
    found = check_data(config)
    assert (found.problems, list(found.splits)) == ([], ["train", "eval"])
    assert [c.images for c in found.splits.values()] == [20, 8]


def test_the_command(folder, capsys):
    words = ["check", "--dataset", "folder", "--root", str(folder)]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "0 problems in 'mine'" in out and "--config.loss.class_weights='(" in out
    mask(folder, "train/train1", np.full((6, 8), 3))
    mask(folder, "train/train2", np.full((6, 8), 4))
    assert run(words) == 2
    out = capsys.readouterr().out
    assert "problem: values (2)" in out and "train1.png" in out and "train2.png" in out
    assert run([*words, "--format", "json", "--split", "train"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [Path(p["file"]).name for p in found["problems"]] == ["train1.png", "train2.png"]
    assert list(found["splits"]) == ["train"]
    assert found["splits"]["train"]["pixels"] == {"ground": 48, "cat": 24, "dog": 12}
    assert len(found["splits"]["train"]["enet_weights"]) == 3
    assert run(["check", "--dataset", "fodler"]) == 2
    assert "Did you mean" in capsys.readouterr().err


def test_names_that_differ_in_capitals_are_shown(folder):
    (folder / "masks/train/train1.png").rename(folder / "masks/train/Train1.PNG")
    texts = [p.text for p in report(folder).problems if p.kind == "unpaired"]
    assert any("train1.png has no mask, but" in t and "Train1.PNG differs only" in t for t in texts)


def test_an_image_of_a_format_that_is_not_read_is_named(folder):
    (folder / "images/train/train1.png").rename(folder / "images/train/train1.gif")
    (problem,) = (p for p in report(folder).problems if p.kind == "unpaired")
    assert "train1.gif has a format that is not read" in problem.text
    assert problem.remedy == "Convert it to PNG or JPEG."


def test_a_mask_that_was_smoothed_is_called_that(folder):
    mask(folder, "train/train1", np.arange(48).reshape(6, 8))
    (problem,) = (p for p in report(folder).problems if p.kind == "values")
    assert "resized with smoothing" in problem.remedy


@pytest.mark.parametrize(
    ("part", "words"), [("images", "Give .* as config.data.root"), ("", "contains images, labels")]
)
def test_another_folder_than_the_data_set(folder, part, words):
    if not part:
        (folder / "masks").rename(folder / "labels")
    with pytest.raises(InputError, match=words):
        report(folder / part)
