"""The page of examples shows the images that training reads, and needs no other files."""

import base64
import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli import run
from jaxseg.data import Augment, DataInfo, Example, Scenes, train_batches
from jaxseg.report.contact_sheet import contact_sheet

WORDS = ["browse", "--config.data.scenes_size=(32, 40)", "--config.seed=3"]
CROPS = ["--config.augment.crop=(24, 24)", "--config.augment.scale=(0.5, 2.0)"]


def pictures(page: str, kind: str) -> list[Image.Image]:
    urls = re.findall(rf"data:image/{kind};base64,([^\"]+)", page)
    return [Image.open(io.BytesIO(base64.b64decode(url))) for url in urls]


def test_it_shows_what_training_reads(tmp_path, capsys):
    out = tmp_path / "page.html"
    assert run([*WORDS, *CROPS, "--out", str(out), "--count", "5"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    page = out.read_text()
    batches = train_batches(
        Scenes(3, 512, (32, 40)),
        seed=3,
        batch_size=1,
        augment=Augment((24, 24), (0.5, 2.0), fill=(123, 117, 104)),
    )
    expected = list(itertools.islice(batches, 5))
    batches.close()
    labels, images = pictures(page, "png"), pictures(page, "jpeg")
    assert len(labels) == len(images) == 5
    for batch, label, image in zip(expected, labels, images, strict=True):
        np.testing.assert_array_equal(np.asarray(label), batch.label[0])  # palette indices
        difference = np.asarray(image).astype(int) - batch.image[0]
        assert np.abs(difference).mean() < 6  # JPEG differs a little
        assert batch.names[0] in page
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?:|@import|url\(", page)


def test_plain_examples_in_their_order(tmp_path):
    out = tmp_path / "page.html"
    assert run([*WORDS, "--plain", "--out", str(out), "--count", "3"]) == 0
    names = re.findall(r"<figcaption>(\S+)", out.read_text())
    assert names == ["train-3-0", "train-3-1", "train-3-2"]


def test_names_are_escaped_and_classes_listed():
    info = DataInfo("x", ("a<b", "c"), ((1, 2, 3), (4, 5, 6)))
    label = np.array([[0, 0, 0, 255]] * 60, np.uint8)
    label[0, 0] = 1
    page = contact_sheet([Example(np.zeros((60, 4, 3), np.uint8), label, "<i>")], info, "a & b")
    assert "<i>" not in page.replace('<i style="', "") and "&lt;i&gt;" in page
    assert "<h1>a &amp; b</h1>" in page
    assert "4×60: a&lt;b 75%, ignored 25%, c &lt;1%" in page
    colours = pictures(page, "png")[0].convert("RGB")
    assert [colours.getpixel(xy) for xy in ((0, 0), (1, 0), (3, 0))] == [
        (4, 5, 6), (1, 2, 3), (235, 235, 235)]  # fmt: skip


@pytest.mark.parametrize(
    "words, part",
    [
        (["--count", "0", "--out", "p.html"], "--count is 0"),
        (["--out", "/nowhere/page.html", "--plain"], "Cannot write /nowhere/page.html"),
        (["--count", "3"], "--out"),
        (["--dataset", "folder", "--out", "p.html"], "data.root is not set"),
    ],
)
def test_refusals(words, part, capsys):
    assert run([*WORDS, *words]) == 2
    assert part in capsys.readouterr().err
