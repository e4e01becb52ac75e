"""A run's network for user code and for prediction: needs no data set, and is checked."""

import json
import shutil
import types

import jax
import numpy as np
import pytest
from PIL import Image, ImageOps

import jaxseg
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.cli import run
from jaxseg.data import DataInfo, load_classes, save_classes
from jaxseg.errors import InputError
from jaxseg.evaluation.trained_run import open_run
from jaxseg.inference.network import Network
from jaxseg.utils.image_kind import RGB


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of a finished run's workdir, without unneeded files."""
    leave = shutil.ignore_patterns("tensorboard", "*.png")
    return Workdir(shutil.copytree(finished[0].path, tmp_path / "run", ignore=leave))


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_classes_survive_their_file(tmp_path):
    info = DataInfo("straßen", ("sky", "Bäume"), ((1, 2, 3), (250, 0, 9)), 254)
    save_classes(info, tmp_path / "classes.json")
    assert load_classes(tmp_path / "classes.json") == info
    assert [p.name for p in tmp_path.iterdir()] == ["classes.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"class_names": ["a"]}', '{"class_names": 3, "palette": []}', "[" * 9999]
)
def test_damaged_classes(tmp_path, text):
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(InputError, match=r"classes\.json is damaged"):
        load_classes(tmp_path / "classes.json")


@pytest.mark.slow
def test_a_run_without_its_data_set(copied, restored, tiny):
    """The variables are those of the run's state; the classes are the run's."""
    info = open_run(copied.path).source.info
    state, _ = restored(copied.path, tiny())
    edit(copied.config, **{"data.name": "folder", "data.root": "/nowhere"})
    with pytest.raises(InputError, match="/nowhere"):
        open_run(copied.path)
    model, variables = jaxseg.load_run(copied.path)
    jax.tree.map(np.testing.assert_array_equal, variables, state.variables)
    network = jaxseg.load(copied.path, 40)
    assert (model, network.info) == (network.model, info)
    assert network.origin["step"] == 40
    photograph = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    labels = jaxseg.predict(model, variables, photograph)
    np.testing.assert_array_equal(network.predict(photograph), labels)

    copied.classes.unlink()  # as in an older jaxseg: the number of classes is known, not the names
    assert jaxseg.load(copied.path).classes == tuple(f"class {i}" for i in range(6))
    with pytest.raises(InputError, match="no checkpoint '39'"):
        jaxseg.load_run(copied.path, 39)


OTHERS = {  # changes of config.json after training, and the error they cause
    "width": ({"model.width": 0.04}, "has batch_stats/conv1_1.* of shape .2,., .* shape .3,."),
    "norm": ({"model.norm": None}, "has batch_stats/conv1_1.*, but that network has none"),
    "skips": ({"model.name": "fcn16s_vgg16"}, "has params/score_pool3.* has none"),
    "network": (
        {"model.name": "deconvnet_vgg16", "model.fc_kernel": 1}
        | dict.fromkeys(["model.norm", "model.padding", "model.dropout"]),
        "lacks batch_stats/deconv1_1.* has shape",
    ),
}


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("load", [jaxseg.load_run, open_run])
def test_a_checkpoint_of_another_network(copied, case, load):
    fields, message = OTHERS[case]
    edit(copied.config, **fields)
    with pytest.raises(InputError, match=f"step 40 in .* does not match the network .*{message}"):
        load(copied.path)


def test_other_classes_than_the_scores_are_of(copied, tmp_path, capsys):
    classes = json.loads(copied.classes.read_text())
    edit(copied.classes, **{k: classes[k][:5] for k in ("class_names", "palette")})
    with pytest.raises(InputError, match="has 6 classes, but the data set has 5"):
        jaxseg.load_run(copied.path)

    root = tmp_path / "data"  # from here on another data set
    for part in ("images/val", "masks/val"):
        (root / part).mkdir(parents=True)
    (root / "classes.txt").write_text("a\nb\nc\n")
    Image.new("RGB", (32, 32)).save(root / "images/val/x.png")
    Image.new("L", (32, 32)).save(root / "masks/val/x.png")
    edit(copied.config, **{"data.name": "folder", "data.root": str(root)})
    capsys.readouterr()
    assert run(["evaluate", "--workdir", str(copied.path)]) == 2
    assert "has 6 classes, but the data set has 3.\nfix: " in capsys.readouterr().err


def test_images_that_are_not_one_array(tmp_path):
    """Two paths are no two images, bytes are no pixels, and PIL shows no EXIF rotation."""
    path = tmp_path / "a.jpg"
    image = Image.new("RGB", (4, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    with pytest.raises(InputError, match="have no 'params': their keys are ..conv1'"):
        jaxseg.predict(None, {"conv1": {}}, np.zeros((4, 4, 3), np.uint8))
    network = types.SimpleNamespace(
        model=types.SimpleNamespace(kind=RGB),
        bands=(),
        variables={},
        _inference=types.SimpleNamespace(labels=lambda variables, image: image),
    )
    with Image.open(path) as rotated, path.open("rb") as file:
        for given, part in (
            ([path, path], "For several images, call predict for each"),
            (path.read_bytes(), "Decode the file first"),
            (file, "Decode the file first"),
            (rotated, "exif_transpose"),
        ):
            with pytest.raises(InputError, match=part):
                Network.predict(network, given)
        upright = ImageOps.exif_transpose(rotated)
    assert Network.predict(network, upright).shape == (4, 3, 3)
