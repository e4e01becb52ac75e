"""Existing predictions are skipped only if they are of the same photo."""

import types

import ml_collections
import numpy as np
import pytest
from PIL import Image

from jaxseg.data.source import DataInfo
from jaxseg.inference import batch
from jaxseg.inference.image_files import ImageFile
from jaxseg.utils.image_kind import RGB

INFO = DataInfo("two", ("floor", "wall"), ((0, 0, 0), (255, 0, 0)))


@pytest.fixture
def label(tmp_path, monkeypatch):
    """`label(folder, value)`: labels one photo; the network predicts walls where it is bright."""

    class Bright:
        def named(self, name):
            return self

        def labels(self, variables, image):
            return (image[..., 0] > 128).astype(np.uint8)

    monkeypatch.setattr(batch, "protocol", lambda *args: Bright())
    network = types.SimpleNamespace(
        info=INFO,
        origin={"network": "bright", "folder": "."},
        eval=ml_collections.ConfigDict({"protocol": "whole", "input_size": (8, 8), "fit": None}),
        variables={},
        model=types.SimpleNamespace(kind=RGB),
    )

    def run(folder, value, **options):
        path = tmp_path / folder / "a.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (value,) * 3).save(path)
        files = [ImageFile("a", path)]
        done = batch.predict_images(
            network, files, tmp_path / "out", say=lambda line: None, **options
        )
        return done, int(np.asarray(Image.open(tmp_path / "out/a.png")).max())

    return run


def test_a_different_photo_with_the_same_name_is_not_skipped(label):
    assert label("one", 0)[0][:2] == (1, 0)
    assert label("one", 0)[0][:2] == (0, 1)  # the same photo
    assert label("moved", 0)[0][:2] == (0, 1)  # in any folder
    (written, kept, bad), labels = label("two", 255)
    assert (written, kept, labels) == (0, 0, 0)
    assert "two/a.png" in bad[0].problem and "--overwrite" in bad[0].remedy
    assert label("two", 255, overwrite=True)[1] == 1


def test_predictions_without_a_mark_are_taken_as_they_are(label, tmp_path):
    label("one", 0)
    labels = Image.open(tmp_path / "out/a.png")
    labels.load()
    labels.info = {}
    labels.save(tmp_path / "out/a.png")
    assert label("two", 255)[0][:2] == (0, 1)
