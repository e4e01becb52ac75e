"""`python -m jaxseg predict`: complete label maps or none, and errors for bad input."""

import io
import json
import logging
import os
import re
import shutil
import struct
import sys
import types
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

import jaxseg
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.cli import run
from jaxseg.config import default_config
from jaxseg.data import load_classes
from jaxseg.evaluation.evaluator import Evaluator
from jaxseg.evaluation.trained_run import open_run
from jaxseg.inference import protocol
from jaxseg.inference.image_files import find_images
from jaxseg.pretrained import save_exported

SIZE = (33, 47)  # of most photographs here, because each size is compiled


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of a finished run's workdir, without unneeded files."""
    leave = shutil.ignore_patterns("tensorboard", "*.png")
    return Workdir(shutil.copytree(finished[0].path, tmp_path / "run", ignore=leave))


@pytest.fixture
def predict(finished, tmp_path, capsys):
    """`predict(*words)`: runs the command into tmp_path / "out"; its exit code, stdout, stderr."""

    def call(*words, network=("--workdir", finished[0].path)):
        capsys.readouterr()
        code = run(list(map(str, ["predict", *network, "--out", tmp_path / "out", *words])))
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(predict, tmp_path):
    """`refused(pattern, *words)`: a two-line error that matches, and nothing is written."""

    def check(pattern, *words, **options):
        before = sorted(tmp_path.rglob("*"))
        code, out, err = predict(*words, **options)
        assert (code, sorted(tmp_path.rglob("*"))) == (2, before)
        assert re.fullmatch(r"error: .+\nfix: .+\n", err), err
        assert re.search(pattern, err.replace("\n", " ")), err

    return check


def photograph(path, seed=0, size=SIZE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def huge_png(path, side=20_000):
    """A small file whose header claims `side` by `side` pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*.*")}


def test_a_folder(finished, predict, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "notes.txt").write_text("no photograph")
    pixels = {"a": photograph(photos / "a.png"), "sub/b": photograph(photos / "sub/b.PNG", 1)}
    pixels["c"] = np.rot90(photograph(photos / "c.png", 2, SIZE[::-1], exif=turned(6)), -1)
    words = [photos, "--overlay", "--probabilities"]
    assert predict(*words)[:2] == (0, f"{out}: 3 images labelled\n")
    made = contents(out)
    names = [f"{n}{s}" for n in pixels for s in (".png", ".overlay.jpg", ".npz")]
    assert made.keys() == {*names, "classes.json", "classes.png"}

    model, variables = jaxseg.load_run(finished[0].path)
    info = load_classes(finished[0].classes)
    assert json.loads((out / "classes.json").read_text())["class_names"] == list(info.class_names)
    for name, photo in pixels.items():
        labels, likely = jaxseg.predict(model, variables, photo, probabilities=True)
        image = Image.open(out / f"{name}.png")
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), labels)
        colours = np.array(info.palette, np.uint8)[labels]
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colours)
        with np.load(out / f"{name}.npz") as file:
            np.testing.assert_array_equal(file["probabilities"], likely)
            assert file["class_names"].tolist() == list(info.class_names)
        np.testing.assert_allclose(likely.sum(axis=-1), 1, atol=1e-5)
        overlay = Image.open(out / f"{name}.overlay.jpg")
        assert (overlay.format, overlay.size) == ("JPEG", SIZE[::-1])
        mean = np.asarray(overlay).mean(axis=(0, 1))
        np.testing.assert_allclose(mean, (photo / 2 + colours / 2).mean(axis=(0, 1)), atol=3)

    # complete results are kept, incomplete ones made again, and no other files are left
    assert predict(*words)[:2] == (0, f"{out}: 0 images labelled, 3 already done\n")
    assert contents(out) == made
    whole = (out / "sub/b.png").read_bytes()
    (out / "sub/b.png").write_bytes(whole[:-5])
    (out / "c.npz").unlink()
    assert "1 image labelled, 2 already" in predict(photos, "--overlay")[1]
    assert (out / "sub/b.png").read_bytes() == whole and not (out / "c.npz").exists()
    assert "1 image labelled, 2 already" in predict(*words)[1]
    assert "3 images labelled\n" in predict(photos, "--overwrite")[1]
    assert contents(out).keys() == made.keys()


@pytest.mark.slow
@pytest.mark.parametrize("input_size", [pytest.param(None, marks=pytest.mark.slow), (40, 56)])
def test_photographs_are_seen_as_in_evaluation(copied, predict, tmp_path, input_size):
    fields = json.loads(copied.config.read_text()) | {"eval.input_size": input_size}
    copied.config.write_text(json.dumps(fields))
    trained = open_run(copied.path)
    for i in range(len(trained.source)):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(trained.source[i].image).save(tmp_path / f"photos/{i}.png")
    assert predict(tmp_path / "photos", network=("--workdir", copied.path))[0] == 0
    evaluator = Evaluator.of_run(trained.model, trained.source, trained.config)
    maps = list(evaluator.label_maps(trained.variables))
    assert len(maps) == 5 and any(len(np.unique(prediction)) > 1 for _, _, prediction in maps)
    for index, _, prediction in maps:
        got = np.asarray(Image.open(tmp_path / f"out/{index}.png"))
        np.testing.assert_array_equal(got, prediction)


@pytest.mark.slow
@pytest.mark.parametrize("input_size", [None, (40, 56)])
def test_many_sizes_are_few_programs(finished, predict, tmp_path, input_size, caplog):
    """Each photograph gets the labels that it gets alone."""
    rng, photos = np.random.default_rng(0), {}
    for i in range(12):
        size = tuple(rng.integers(33, 64, 2).tolist())
        photos[i] = photograph(tmp_path / f"photos/{i}.png", i, size)
    assert len({photo.shape for photo in photos.values()}) == 12
    words = [f"--config.eval.input_size={input_size}"] if input_size else []
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        assert predict(tmp_path / "photos", *words)[0] == 0
    compiled = [r.getMessage() for r in caplog.records if "Finished XLA" in r.getMessage()]
    made = sum("jit(image_labels)" in message for message in compiled)
    assert made <= 1  # none if an earlier test compiled it
    model, variables = jaxseg.load_run(finished[0].path)
    config = default_config().eval
    config.input_size = input_size
    for i in (0, 7):
        alone = protocol(model, config).labels(variables, photos[i])
        with Image.open(tmp_path / f"out/{i}.png") as image:
            assert (np.asarray(image) == alone).mean() > 0.999


# ---- bad files


@pytest.mark.slow
def test_bad_files_do_not_stop_the_rest(predict, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a", "e"):
        photograph(photos / f"{name}.png")
    (photos / "b.jpg").write_text("no photograph")
    code, said, err = predict(photos)
    assert (code, said.splitlines()[-1]) == (2, f"{out}: 2 images labelled")
    assert re.fullmatch(rf"error: {photos}/b.jpg cannot be decoded .*\nfix: Replace .*\n", err)
    assert contents(out).keys() == {"a.png", "e.png", "classes.json", "classes.png"}

    whole = (photos / "a.png").read_bytes()
    (photos / "c.png").write_bytes(whole[: len(whole) // 2])
    huge_png(photos / "d.png")
    code, said, err = predict(photos, photos / "missing.png")
    assert code == 2
    assert re.match(
        r"error: 4 of 6 .*first problem: .*/b.jpg cannot .*\nfix: .* to label the rest.\n", err
    )
    for line in ("c.png cannot be", "d.png has more than 89,478,485 pixels", "missing"):
        assert line in said
    assert not {"b.png", "c.png", "d.png"} & contents(out).keys()
    (photos / "b.jpg").unlink()
    photograph(photos / "b.jpg")
    assert "1 image labelled, 2 already done" in predict(photos)[1]


BAD = {
    "text": (lambda p: p.write_text("none"), "x.png cannot be decoded"),
    "empty": (lambda p: p.write_bytes(b""), "x.png cannot be decoded"),
    "missing": (lambda p: None, "x.png cannot be decoded .*No such file"),
    "deep": (lambda p: Image.new("I;16", (9, 9)).save(p), "x.png has more than 8 bits"),
    "huge": (huge_png, "x.png has more than 89,478,485 pixels.*Scale it down"),
    "large": (
        lambda p: huge_png(p, 3000),
        "x.png is 3000 wide and 3000 high: 9,000,000 pixels, but the limit is 8,388,608"
        ".*eval.input_size=.*--max-pixels",
    ),
}


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("case", BAD)
def test_files_that_are_not_photographs(refused, tmp_path, case):
    write, message = BAD[case]
    write(tmp_path / "x.png")
    refused(message, tmp_path / "x.png")


@pytest.mark.slow
def test_pixel_limit_of_whole_images(refused, predict, tmp_path):
    photograph(tmp_path / "x.png")
    refused("1,551 pixels, but the limit is 1,550", "--max-pixels", 1550, tmp_path / "x.png")
    words = [tmp_path / "x.png", "--max-pixels", 1550, "--config.eval.input_size=(40, 56)"]
    refused("the limit is 1,550", *words, "--probabilities")  # at the photograph's own size
    assert predict(*words)[0] == 0


@pytest.mark.slow
def test_pixel_limit_with_windows(refused, predict, tmp_path):
    """Four times the pixels, unless the scores of all classes are kept."""
    photograph(tmp_path / "x.png")
    sliding = ("--config.eval.protocol=sliding", "--config.eval.crop=(32, 32)")
    words = [tmp_path / "x.png", *sliding, "--max-pixels"]
    refused("the limit is 1,548.*fix: Scale it down, or raise --max-pixels. $", *words, 387)
    kept = "the limit is 1,550.*fix: .* 4 bytes per class and pixel"
    refused(kept, *words, 1550, "--probabilities")
    refused(kept, *words, 1550, "--config.eval.crf=deconvnet")
    assert predict(*words, 388)[0] == 0


@pytest.mark.slow
def test_one_pixel(predict, tmp_path):
    photograph(tmp_path / "x.png", size=(1, 1))
    assert predict(tmp_path / "x.png", "--overlay")[0] == 0
    with Image.open(tmp_path / "out/x.png") as image:
        assert image.size == (1, 1)


def test_a_size_that_the_network_cannot_take(refused, tmp_path):
    model = jaxseg.create_model("deconvnet_vgg16", 3, width=0.03, fc_channels=8, fc_kernel=1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.numpy.zeros([1, 32, 32, 3]))
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)
    save_exported(tmp_path / "network", "deconvnet_vgg16", model, zeros)
    photograph(tmp_path / "x.png")
    network = ("--weights", tmp_path / "network")
    refused(
        "x.png: DeconvNet does not support images of 33×47", tmp_path / "x.png", network=network
    )


@pytest.mark.slow
def test_a_gigantic_photograph_takes_no_memory(finished, process, tmp_path):
    """A header of 20,000×20,000 pixels, which would take 1.2 GB, along with a 33×47 photograph."""
    photograph(tmp_path / "a.png")
    peaks = {}
    for name in ("small", "huge"):
        if name == "huge":
            huge_png(tmp_path / "b.png")
        photos = sorted(tmp_path.glob("*.png"))
        out = tmp_path / name
        child = process("predict", "--workdir", finished[0].path, *photos, "--out", out, devices=1)
        said = child.stderr.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        child.stdout.close(), child.stderr.close()
        assert child.returncode == (2 if name == "huge" else 0), said
        peaks[name] = used.ru_maxrss / 1024
    assert peaks["huge"] < peaks["small"] + 50, peaks


INSTANCES = ["--config.eval.protocol=instances", "--config.eval.crop=(32, 32)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "pattern"),
    [
        ("x 0 0 33 47\nx 1 0 34 5", "Line 2 of .*boxes.txt is 'x 1 0 34 5', but the image is 33"),
        ("x 0 -1 33 47", "Line 1 of .*'x 0 -1 33 47', but the image is 33 wide and 47 high"),
        ("x 0 0 0 47", "Line 1 of .*a box without pixels"),
        ("x 0 0 9", "Line 1 of .*not a name with four whole numbers"),
        ("y 0 0 33 47", "boxes.txt has no box for the image 'x'; its line 1 is 'y 0 0 33 47'"),
        ("", "boxes.txt has no box for the image 'x': it is empty"),
        (None, "boxes.txt cannot be read"),
    ],
)
def test_boxes_that_are_wrong(refused, tmp_path, lines, pattern):
    """Boxes refer to the upright photograph: 33 wide, 47 high."""
    photograph(tmp_path / "x.jpg", exif=turned(8))
    if lines is not None:
        (tmp_path / "boxes.txt").write_text(lines)
    words = [tmp_path / "x.jpg", f"--config.eval.boxes={tmp_path / 'boxes.txt'}"]
    refused(pattern, *words, *INSTANCES)
    refused("eval.boxes is .* which has no effect while eval.protocol is 'whole'", *words)


# ---- which photographs


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b/c.png", "b/d/e.JPEG", "b/d/f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_words_that_name_photographs(here):
    def names(*words, out="out"):
        found = find_images(words, here / out)
        assert all((here / p.path).exists() for p in found)
        return [p.name for p in found]

    assert names("a.jpg", "b/c.png") == ["a", "c"]
    assert names("b") == ["c", "d/e"]
    assert names(".") == ["a", "b/c", "b/d/e"]
    assert names("a.jpg", str(here / "a.jpg"), ".", "*.jpg") == ["a", "b/c", "b/d/e"]
    assert names("b/**/*.[pJ]*") == ["c", "d/e"]
    assert names("*/*.png") == ["b/c"]
    (here / "c[1].png").touch()
    assert names("c[1].png") == ["c[1]"]
    (here / "b/out").mkdir()
    (here / "b/out/g.png").touch()
    assert names("b", out="b/out") == ["c", "d/e"]
    assert names("b/**/*.png", out="b/out") == ["c"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a.jpg and .*copy/a.png would both be named a", ["a.jpg", "copy/a.png"]),
        ("copy/a.jpg and copy/a.png would both be named copy/a", ["."]),
        ("No file matches b/.*.webp", ["b/*.webp"]),
        ("empty contains no images", ["empty"]),
        ("b/c.png is in the folder for the results", ["b/c.png", "--out", "b"]),
        ("classes.png is reserved for a file that describes", ["copy/classes.png"]),
        ("No image is given", []),
        ("Exactly one of", ["a.jpg", "--weights", "b"]),
        ("--max-pixels is 0", ["a.jpg", "--max-pixels", "0"]),
        ("--step is 'first'", ["a.jpg", "--step", "first"]),
        ("cannot be both", ["-", "--list", "-"]),
        ("The list nowhere.txt cannot be read", ["--list", "nowhere.txt"]),
        ("no config field eval.input_sise.*input_size", ["a.jpg", "--config.eval.input_sise=1"]),
        ("--config.optim.lr cannot be set", ["a.jpg", "--config.optim.lr=1"]),
        ("--config.eval.absent has no effect", ["a.jpg", "--config.eval.absent=one"]),
        ("--config.data.root has no effect", ["a.jpg", "--config.data.root=b"]),
        ("eval.input_size is .1,.", ["a.jpg", "--config.eval.input_size=(1,)"]),
        ("no option --overley.*'--overlay'", ["a.jpg", "--overley"]),
    ],
)
def test_words_that_are_wrong(here, refused, pattern, words):
    (here / "empty").mkdir()
    (here / "copy").mkdir()
    for name in ("a.jpg", "a.png", "classes.png"):
        (here / "copy" / name).touch()
    refused(pattern, *words)


@pytest.mark.slow
def test_standard_input(predict, tmp_path, monkeypatch):
    photograph(tmp_path / "in/a.png"), photograph(tmp_path / "in/b.png")

    def type_in(data):
        stream = types.SimpleNamespace(buffer=io.BytesIO(data), read=data.decode)
        monkeypatch.setattr(sys, "stdin", stream if b"\x89" in data else io.StringIO(data.decode()))

    type_in((tmp_path / "in/a.png").read_bytes())
    assert predict("-", tmp_path / "in/b.png")[0] == 0
    assert {"stdin.png", "b.png"} < contents(tmp_path / "out").keys()
    type_in(f"{tmp_path / 'in/a.png'}\n\n{tmp_path / 'in/b.png'}\n".encode())
    assert "1 image labelled, 1 already done" in predict("--list", "-")[1]
    type_in(b"\x89 no photograph")
    assert predict("-", "--overwrite")[2].startswith("error: standard input cannot be decoded")


# ---- which network


@pytest.mark.slow
def test_the_folder_of_a_network(copied, predict, refused, tmp_path, capsys):
    """An exported network gives the same labels; a folder of other predictions is not changed."""
    photograph(tmp_path / "x.png")
    shutil.copytree(copied.checkpoints / "40", copied.checkpoints / "39")
    run_there = ("--workdir", copied.path)
    assert predict(tmp_path / "x.png", network=run_there)[0] == 0
    labels = (tmp_path / "out/x.png").read_bytes()
    network = ("--weights", tmp_path / "network")
    assert run(["convert", str(copied.path), "--out", str(network[1])]) == 0
    other = "out contains predictions of another network, step or size"
    refused(other, tmp_path / "x.png", network=network)
    refused(other, tmp_path / "x.png", "--step", "39", network=run_there)
    refused(other, tmp_path / "x.png", "--config.eval.input_size=(32, 32)", network=run_there)
    refused("--step works only with --workdir", tmp_path / "x.png", "--step", "39", network=network)
    assert predict(tmp_path / "x.png", "--overwrite", network=network)[0] == 0
    image, first = Image.open(tmp_path / "out/x.png"), Image.open(io.BytesIO(labels))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(first))
    assert predict(tmp_path / "x.png", network=network)[1].endswith("1 already done\n")


@pytest.mark.slow
def test_no_network(copied, refused, tmp_path):
    photograph(tmp_path / "x.png")
    words = [tmp_path / "x.png"]
    refused("is not a run's workdir", *words, network=("--workdir", tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    refused("a folder without", *words, network=("--weights", tmp_path / "empty"))
    refused("There is no network", *words, network=("--weights", "pspnet_r50_cityscape"))
    run_there = ("--workdir", copied.path)
    refused("no checkpoint '39'", *words, "--step", "39", network=run_there)
    fields = json.loads(copied.config.read_text())
    copied.config.write_text(json.dumps(fields | {"model.width": 0.04}))
    refused("step 40 in .* does not match the network in config.json", *words, network=run_there)
    copied.config.write_text(json.dumps(fields))
    classes = json.loads(copied.classes.read_text())
    short = {k: v[:5] if isinstance(v, list) else v for k, v in classes.items()}
    copied.classes.write_text(json.dumps(short))
    refused("has 6 classes, but the data set has 5", *words, network=run_there)
    shutil.rmtree(copied.checkpoints)
    refused("contains no checkpoint.*fix: Train first", *words, network=run_there)


def test_results_that_cannot_be_written(predict, tmp_path):
    photograph(tmp_path / "x.png")
    (tmp_path / "out").write_text("a file")
    before = sorted(tmp_path.rglob("*"))
    code, _, err = predict(tmp_path / "x.png")
    assert (code, sorted(tmp_path.rglob("*"))) == (2, before)
    assert re.fullmatch(r"error: .*out/classes.json cannot be written: .*\nfix: .*\n", err)
