"""User errors: exit code 2, a line for the problem, a line for the remedy, no leftover files."""

import json
import re
import resource
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from jaxseg.checkpoint import whole_steps
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.cli import run
from jaxseg.data import Augment, Scenes, open_data, train_batches

FOLDER = {"data.name": "voc_folder", "train.steps": 4, "eval.every_steps": None}
PHOTO, MASK = "JPEGImages/{}.jpg", "SegmentationClass/{}.png"


class Folder:
    """A data set in VOC layout with the scenes of `tiny()`, for a test to damage."""

    def __init__(self, root):
        self.root = root
        for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / part).mkdir(parents=True)
        for split, count in (("train", 16), ("val", 8)):
            scenes = Scenes(0, count, (32, 32))
            for i in range(count):
                Image.fromarray(scenes[i].image).save(root / PHOTO.format(f"{split}{i}"))
                Image.fromarray(scenes[i].label).save(root / MASK.format(f"{split}{i}"))
            self.write_list(split, [f"{split}{i}" for i in range(count)])
        (root / "classes.txt").write_text("\n".join(scenes.info.class_names))

    def write_list(self, split, names):
        text = "".join(f"{name}\n" for name in names)
        (self.root / f"ImageSets/Segmentation/{split}.txt").write_text(text)

    def save_mask(self, name, array):
        Image.fromarray(array).save(self.root / MASK.format(name))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return Folder(tmp_path_factory.mktemp("voc") / "data")


@pytest.fixture
def folder(pristine, tmp_path):
    """A copy that the test may damage."""
    copy = Folder.__new__(Folder)
    copy.root = shutil.copytree(pristine.root, tmp_path / "data")
    return copy


@pytest.fixture
def fields(folder):
    """The config of a run on `folder`."""
    return FOLDER | {"data.root": str(folder.root)}


@pytest.fixture
def refused(capsys):
    """`refused(words, *parts)`: checks for an input error that has `parts` in this order."""

    def check(words, *parts):
        capsys.readouterr()
        assert run(list(map(str, words))) == 2
        return check_lines(capsys.readouterr().err, *parts)

    return check


def check_lines(err, *parts):
    assert re.fullmatch(r"error: .+\nfix: .+\n", err), err
    assert re.search(".*".join(map(re.escape, map(str, parts))), err, re.DOTALL), err
    return err


def contents(path):
    return {p: p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def assert_nothing_half_written(workdir):
    """Neither scores nor a picture nor part of a checkpoint exists."""
    workdir = Workdir(workdir)
    assert not workdir.scores.exists() and not workdir.picture.exists()
    assert not list(workdir.path.rglob("*.tmp*")) and not list(workdir.path.rglob("*orbax*"))
    assert {p.name for p in workdir.checkpoints.glob("*")} == {
        str(step) for step in whole_steps(workdir.checkpoints)
    }


# ---- found before a workdir is made


def spoil_root(folder):
    shutil.rmtree(folder.root)
    return f"There is no folder {folder.root}.", "JPEGImages"


def spoil_list(folder):
    (folder.root / MASK.format("train3")).unlink()
    return folder.root / MASK.format("train3"), "train.txt", "fix: Add the file"


def spoil_eval_list(folder):
    (folder.root / PHOTO.format("val7")).unlink()
    return folder.root / PHOTO.format("val7"), "val.txt"


def spoil_split(folder):
    folder.write_list("train", [])
    return "train.txt is empty", "fix: Write one id per line."


def spoil_eval_split(folder):
    folder.write_list("val", [])
    return "val.txt is empty", "fix: Write one id per line."


@pytest.mark.parametrize(
    "spoil", [spoil_root, spoil_list, spoil_eval_list, spoil_split, spoil_eval_split]
)
def test_data_that_is_not_there(folder, fields, words, refused, tmp_path, spoil):
    parts = spoil(folder)
    refused(words(tmp_path / "run", fields), *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, parts",
    [
        ({"train.step": 1}, ("no config field train.step", "fix: Did you mean 'train.steps'")),
        ({"train.batch_size": 12}, ("train.batch_size is 12", "8 devices", "such as 8 or 16")),
        ({"eval.batch_size": 3}, ("eval.batch_size is 3", "8 devices", "such as 8")),
        ({"model.name": "fcn8"}, ("'fcn8'", "fix: Did you mean", "fcn8s_vgg16")),
        ({"model.num_classes": 7}, ("num_classes is 7", "6 classes")),
        ({"loss.class_weights": (1, 2)}, ("2 class weights", "6 classes", "fix: Give one")),
        ({"loss.name": "focals"}, ("no loss 'focals'", "'focal'")),
        (
            {"optim.freeze": ("conv9",)},
            ("optim.freeze", "'conv9'", "fix: Parameter names look like"),
        ),
        ({"train.accumulate": 2}, ("train.batch_size / train.accumulate is 4", "8 devices")),
        ({"data.name": "scene"}, ("'scene'", "fix: Did you mean", "scenes")),
        ({"data.name": "voc_folder"}, ("data.root is not set", "fix: Set it")),
        ({"optim.lr": "nan"}, ("optim.lr", "nan")),
        ({"optim.warmup_steps": 40}, ("optim.warmup_steps is 40", "train.steps")),
    ],
)
def test_config(words, refused, tmp_path, changes, parts):
    refused(words(tmp_path / "run", changes), *parts)
    assert not (tmp_path / "run").exists()


def seconds_of_children():
    """Processor time of all processes that have been started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_as_processes(words, process, folder, fields, repository, tmp_path):
    """In real processes: files, a field, and the paper's recipe without its data."""
    parts = spoil_list(folder)
    voc = ["train", "--config", repository / "configs/fcn8s.py", "--workdir", tmp_path / "run"]
    before = seconds_of_children()
    subprocess.run([sys.executable, "-c", "import jax, flax, optax, orbax.checkpoint"], check=True)
    imports = seconds_of_children() - before
    for command, said in [
        (words(tmp_path / "run", fields), parts),
        (words(tmp_path / "run", {"train.step": 1}), ("train.step", "'train.steps'")),
        (words(tmp_path / "run", {"train.batch_size": 12}), ("train.batch_size is 12", "16")),
        (voc, ("VOC", "data.root", "fix: Download", "--config.data.root=")),
    ]:
        before = seconds_of_children()
        started = process(*command)
        out, err = started.communicate(timeout=60)
        seconds = seconds_of_children() - before
        assert started.returncode == 2
        check_lines(err, *said)
        assert out in ("", f"workdir: {tmp_path / 'run'}\n")
        assert not (tmp_path / "run").exists()
        assert seconds < 3 * imports  # found before anything is compiled


def test_photographs_of_a_size_the_network_cannot_take(words, refused, tmp_path):
    """Found before training, not after it."""
    fields = {
        "model.name": "deconvnet_vgg16",
        "model.fc_kernel": 1,
        "model.norm": None,
        "model.padding": None,
        "model.dropout": None,
        "data.scenes_size": (48, 64),
    }
    refused(words(tmp_path / "run", fields), "48×64", "32×64 or 64×64")
    refused(
        words(tmp_path / "run", fields | {"augment.crop": (32, 32)}), "48×64", "eval.input_size"
    )
    assert not (tmp_path / "run").exists()


# ---- found when a file is read


def other_size(folder):
    folder.save_mask("train3", np.zeros((32, 31), np.uint8))
    return "train3.jpg", "32 wide", "train3.png", "31 wide", "fix: Make both the same size"


def colours(folder):
    folder.save_mask("train3", np.zeros((32, 32, 3), np.uint8))
    return "train3.png", "RGB", "convert each colour"


def out_of_range(folder):
    mask = np.zeros((32, 32), np.uint8)
    mask[3:5], mask[7] = 17, 250
    folder.save_mask("train3", mask)
    return "train3.png", "17, 250", "0..5 and 255", "fix: "


def truncated(folder):
    path = folder.root / PHOTO.format("train3")
    path.write_bytes(path.read_bytes()[:-100])
    return "train3.jpg", "cannot be decoded", "fix: Replace the file"


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [other_size, colours, out_of_range, truncated])
def test_file_that_is_broken(folder, fields, words, refused, tmp_path, spoil):
    parts = spoil(folder)
    refused(words(tmp_path / "run", fields), *parts)
    assert_nothing_half_written(tmp_path / "run")
    assert not whole_steps(tmp_path / "run" / "checkpoints")


@pytest.mark.slow
def test_bad_files_that_a_run_may_skip(folder, fields, words, refused, tmp_path, capsys):
    truncated(folder)
    path = folder.root / PHOTO.format("train5")
    path.write_bytes(b"no photograph")
    fields = fields | {"data.on_error": "skip", "data.skip_limit": 2}
    assert run(words(tmp_path / "run", fields)) == 0
    out = capsys.readouterr().out
    assert "2 bad file(s) skipped:" in out
    for name in ("train3.jpg", "train5.jpg"):
        assert out.count(f"{name} cannot be decoded") == 2  # when read, and at the end
    (folder.root / PHOTO.format("train6")).write_bytes(b"")
    refused(words(tmp_path / "other", fields), "3 files are bad", "allows 2", "fix: ", "check")


@pytest.mark.slow
def test_workdir_of_a_run_that_never_saved_takes_any_run(
    folder, fields, words, refused, tmp_path, capsys
):
    refused(words(tmp_path / "run", fields), *colours(folder))
    assert run(words(tmp_path / "run", {"train.steps": 2, "eval.every_steps": 2})) == 0
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (saved["data.name"], saved["train.steps"]) == ("scenes", 2)
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["step"] == 2


@pytest.mark.slow
def test_broken_evaluation_file_costs_no_training(folder, fields, words, refused, tmp_path, capsys):
    workdir = tmp_path / "run"
    good = (folder.root / MASK.format("val5")).read_bytes()
    folder.save_mask("val5", np.full((32, 32), 6, np.uint8))
    refused(words(workdir, fields), "val5.png", "contains the value 6", "0..5", "fix: ")
    assert_nothing_half_written(workdir)
    assert whole_steps(workdir / "checkpoints") == [4]
    refused(["evaluate", "--workdir", workdir], "val5.png", "contains the value 6")

    (folder.root / MASK.format("val5")).write_bytes(good)
    assert run(words(workdir, fields)) == 0
    assert "resuming from step 4 of 4" in capsys.readouterr().out
    assert json.loads((workdir / "scores.json").read_text())["step"] == 4


@pytest.mark.slow
def test_evaluation_split_without_a_label(folder, fields, words, refused, tmp_path):
    for i in range(8):
        folder.save_mask(f"val{i}", np.full((32, 32), 255, np.uint8))
    refused(words(tmp_path / "run", fields), "No pixel of 'data'", "fix: Use an evaluation split")
    assert_nothing_half_written(tmp_path / "run")


# ---- the workdir


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of a finished run's workdir."""
    return Workdir(shutil.copytree(finished[0].path, tmp_path / "run"))


@pytest.mark.parametrize("field, value", [("model.width", 0.04), ("model.norm", None), ("seed", 3)])
def test_workdir_of_another_run(finished, words, refused, field, value):
    workdir = finished[0].path
    before = contents(workdir)
    refused(words(workdir, {field: value}), workdir, f"{field} =", f"not {value!r}", "fix: ")
    assert contents(workdir) == before


def test_fewer_steps_than_the_run_has_taken(finished, words, refused):
    """It is refused: no step is left to take, and steps are not undone."""
    workdir, taken = finished[0].path, finished[1]["step"]
    before = contents(workdir)
    refused(words(workdir, {"train.steps": taken - 1}), f"has taken {taken} steps", "fix: Increase")
    assert contents(workdir) == before
    assert all(path.name.isdecimal() for path in (workdir / "checkpoints").iterdir())  # no lease


def test_another_rate_may_begin_from_the_weights(finished, words, refused):
    workdir = finished[0].path
    refused(
        words(workdir, {"optim.lr": 0.123}), "optim.lr =", f"--config.init.pretrained={workdir}"
    )


@pytest.mark.slow
def test_workdir_of_other_examples(folder, fields, words, refused, tmp_path, capsys):
    """`data.root` may change, but not the examples; on refusal the workdir stays as it was."""
    assert run(words(tmp_path / "run", fields)) == 0
    before = contents(tmp_path / "run")
    other = shutil.copytree(folder.root, tmp_path / "other")
    (other / "ImageSets/Segmentation/train.txt").write_text("train0\ntrain1\n")
    changed = fields | {"data.root": str(other), "train.steps": 8}
    refused(words(tmp_path / "run", changed), "saved with 16 training examples", "fix: ")
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("where", ["file/sub", "file"])
def test_workdir_that_cannot_be_written(words, refused, tmp_path, where):
    (tmp_path / "file").write_text("not a folder")
    before = contents(tmp_path)
    refused(words(tmp_path / where), tmp_path / where, "cannot be written", "fix: ", "--workdir")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", ["{ broken", "[]", '{"model.width": "wide"}'])
def test_damaged_config_in_the_workdir(copied, words, refused, text):
    copied.config.write_text(text)
    before = contents(copied.path)
    refused(words(copied.path), copied.config, "fix: ")
    refused(["evaluate", "--workdir", copied.path], copied.config, "fix: ")
    assert contents(copied.path) == before


@pytest.mark.slow
def test_damaged_log_is_repaired(copied, words, capsys):
    whole = copied.log.read_bytes()
    copied.log.write_bytes(whole + b'\0\xff junk\n[1]\n{"kind": "train", "st')
    assert run(words(copied.path)) == 0
    assert copied.log.read_bytes() == whole


@pytest.mark.parametrize(
    "make, parts",
    [
        (lambda path: None, ("not a run's workdir",)),
        (lambda path: path.mkdir(), ("not a run's workdir",)),
        (lambda path: path.write_text(""), ("not a run's workdir",)),
    ],
)
def test_evaluate_without_a_run(refused, tmp_path, make, parts):
    make(tmp_path / "run")
    refused(["evaluate", "--workdir", tmp_path / "run"], tmp_path / "run", *parts, "fix: ")
    assert not contents(tmp_path).keys() - {tmp_path / "run"}


def test_evaluate_without_such_a_checkpoint(finished, copied, refused):
    steps = ", ".join(map(str, whole_steps(copied.checkpoints)))
    refused(["evaluate", "--workdir", copied.path, "--step", "39"], "'39'", f"one of {steps}.")
    shutil.rmtree(copied.checkpoints)
    refused(["evaluate", "--workdir", copied.path], "contains no checkpoint", "fix: Train first")


# ---- the loss


@pytest.mark.slow
def test_loss_that_becomes_nan(words, refused, tmp_path, tiny, restored):
    """The run stops and names the step and its images; the last checkpoint is finite."""
    workdir = Workdir(tmp_path / "run")
    fields = {
        "model.norm": None,
        "optim.lr": 100.0,
        "train.steps": 10,
        "checkpoint.every_steps": 1,
        "log.every_steps": 10,
        "eval.every_steps": None,
    }
    err = refused(words(workdir.path, fields), "NaN or infinite at step", "fix: Lower", "optim.lr")
    found = re.search(r"at step (\d+), with the images (.+?)\.$", err, re.MULTILINE)
    step = int(found[1])
    source = open_data(tiny().data, "train", tiny().seed)
    batches = train_batches(
        source, seed=tiny().seed, batch_size=8, augment=Augment(), start_step=step - 1
    )
    assert found[2].split(", ") == next(batches).names
    batches.close()
    assert step > 1 and f"the checkpoint of step {step - 1} is intact" in err
    assert whole_steps(workdir.checkpoints)[-1] == step - 1
    assert_nothing_half_written(workdir.path)
    state, position = restored(workdir.path, tiny(fields))
    assert position["step"] == int(state.step) == step - 1
    assert int(state.first_bad_step) == -1
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(state))
    assert "NaN" not in workdir.log.read_text()
