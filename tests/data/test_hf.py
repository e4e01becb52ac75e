"""Data sets of Hugging Face, as `datasets` itself saves them; no network."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli import run
from jaxseg.config import default_config, save_config
from jaxseg.data import Cached, open_data
from jaxseg.data.check import check_data
from jaxseg.errors import InputError
from jaxseg.training.automatic import resolved, with_revision_of

datasets = pytest.importorskip("datasets", reason="pip install -e '.[hf]'")
LABEL = np.uint8([[0, 1, 255, 2]] * 3)


def png(pixels) -> dict:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if pixels.ndim == 2:
        image.putpalette([9, 200, 0] * 256)
    image.save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set with two photos with palette masks in each split, and a classes.txt."""
    root = tmp_path_factory.mktemp("hub")
    photos = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)
    rows = {"pixels": [png(p) for p in photos], "annotation": [png(LABEL)] * 2, "n": [0, 1]}
    features = datasets.Features(
        {"pixels": datasets.Image(), "annotation": datasets.Image(), "n": datasets.Value("int32")}
    )
    split = datasets.Dataset.from_dict(rows, features)
    datasets.DatasetDict({"train": split, "validation": split}).save_to_disk(root / "set")
    (root / "classes.txt").write_text("ground\ncat\ndog\n")
    return root, photos


def config(root, **fields):
    found = default_config().data
    found.update({"name": "hf", "hf_name": str(root / "set"), "image_key": "pixels",
                  "mask_key": "annotation", "classes": str(root / "classes.txt"),
                  "eval_split": "validation"} | fields)  # fmt: skip
    return found


def test_photos_and_the_indices_of_palette_masks(folder):
    root, photos = folder
    source = pickle.loads(pickle.dumps(open_data(config(root), "eval")))
    assert len(source) == 2 and source.size(1) == (3, 4)
    np.testing.assert_array_equal(source[1].image, photos[1])
    np.testing.assert_array_equal(source[1].label, LABEL)
    assert "leakage" in {p.kind for p in check_data(config(root)).problems}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"mask_key": "mask"}, "no image column 'mask'.*mask_key.*columns: pixels, annotation"),
        ({"image_key": "n"}, "no image column 'n'"),
        ({"eval_split": "val"}, "has no split 'val'.*validation"),
        ({"classes": None}, "config.data.classes is not set"),
        ({"hf_name": None}, "config.data.hf_name is not set"),
        ({"hf_name": "nowhere/nothing"}, "The data set 'nowhere/nothing' cannot be loaded"),
    ],
)
def test_what_is_missing_is_named(folder, fields, text, monkeypatch):
    def no_network(self, name):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", no_network)
    with pytest.raises(InputError, match=text):
        open_data(config(folder[0], **fields), "eval")


def test_a_run_keeps_the_revision_that_it_began_with(folder, tmp_path):
    """The newest revision at the start is stored in config.json and used again."""
    whole = default_config()
    whole.data.update(config(folder[0], hf_name="owner/name").to_dict())

    class Found:
        info, revision = None, "abc123"

    resolved_once = resolved(whole, Cached(Found()))
    assert resolved_once.data.hf_revision == "abc123"
    save_config(resolved_once, tmp_path / "config.json")
    assert with_revision_of(whole, tmp_path / "config.json").data.hf_revision == "abc123"
    whole.data.hf_revision = "def456"  # a given revision takes precedence
    assert with_revision_of(whole, tmp_path / "config.json").data.hf_revision == "def456"
    whole.data.update({"hf_name": "owner/other", "hf_revision": None})
    assert with_revision_of(whole, tmp_path / "config.json").data.hf_revision is None
    assert with_revision_of(whole, tmp_path / "none.json") is whole


def test_prepare_makes_plain_folders_and_records_of_it(folder, tmp_path, capsys):
    root, photos = folder
    fields = {k: v for k, v in config(root).items() if v != default_config().data[k]}
    words = [f"--config.data.{k}={v}" for k, v in fields.items() if k != "name"]
    for form in ("folder", "records"):
        command = ["prepare", "hf", *words, "--data-dir", str(tmp_path), "--as", form]
        assert run(command) == 0, capsys.readouterr().err
        name, where = capsys.readouterr().out.splitlines()[-1].split()
        assert name == "--config.data.name=folder"
        made = default_config().data
        made.update({"name": "folder", "root": where.partition("=")[2], "eval_split": "validation"})
        for split in ("train", "eval"):
            source = open_data(made, split)
            assert source.info.class_names == ("ground", "cat", "dog")
            for i, photo in enumerate(photos):
                np.testing.assert_array_equal(source[i].image, photo)
                np.testing.assert_array_equal(source[i].label, LABEL)
