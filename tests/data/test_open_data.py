import pathlib
import subprocess
import sys

import numpy as np
import pytest

import jaxseg
from jaxseg.config import default_config
from jaxseg.data import Cached, Scenes, VocFolder, open_data
from jaxseg.errors import InputError


def config(**fields):
    c = default_config().data
    c.update(fields)
    return c


def test_scenes_are_the_default():
    train, scored = (open_data(default_config().data, s, seed=4) for s in ("train", "eval"))
    assert (len(train), len(scored), train.size(0)) == (512, 64, (96, 96))
    np.testing.assert_array_equal(train[3].image, Scenes(4, 512, (96, 96))[3].image)


def test_scenes_to_score_on_are_the_same_for_every_seed_and_never_trained_on():
    c = config(scenes_train=30, scenes_eval=30, scenes_size=(32, 32))
    one, two = open_data(c, "eval", 0), open_data(c, "eval", 1)
    assert all(np.array_equal(one[i].image, two[i].image) for i in range(30))
    for seed in (0, 1):
        trained = {open_data(c, "train", seed)[i].image.tobytes() for i in range(30)}
        assert not trained & {one[i].image.tobytes() for i in range(30)}


def test_splits_and_cache(devkit):
    devkit.list("val", ["p1"])
    c = config(name="voc_folder", root=str(devkit.root))
    assert open_data(c, "train").pairs == VocFolder(devkit.root, "train").pairs
    assert (len(open_data(c, "train")), len(open_data(c, "eval"))) == (5, 1)
    c.cache = True
    assert isinstance(open_data(c, "train"), Cached)


def test_voc2012_is_such_a_folder(devkit):
    assert len(open_data(config(name="voc2012", root=str(devkit.root)), "train")) == 5


@pytest.mark.parametrize("root", [None, "/nowhere"])
def test_missing_voc2012_says_what_to_fetch_and_what_to_pass(root):
    with pytest.raises(InputError) as caught:
        open_data(config(name="voc2012", root=root), "train")
    message = str(caught.value)
    for word in (
        "VOCtrainval_11-May-2012.tar",
        "host.robots.ox.ac.uk/pascal/VOC/voc2012",
        "tar -xf",
    ):
        assert word in message
    assert "--config.data.root=VOCdevkit/VOC2012" in message
    assert (root or "is not set") in message


def test_what_is_wrong_is_named():
    with pytest.raises(InputError, match="config.data.root is not set.*JPEGImages/ID.jpg"):
        open_data(config(name="voc_folder"), "train")
    with pytest.raises(InputError, match="no data set 'voc2021'. Did you mean 'voc2012'"):
        open_data(config(name="voc2021"), "train")
    with pytest.raises(InputError, match="no split 'val'"):
        open_data(config(), "val")


def test_importing_the_data_floor_is_cheap():
    code = (
        "import sys, types; jaxseg = types.ModuleType('jaxseg'); jaxseg.__path__ = [sys.argv[1]]; "
        "sys.modules['jaxseg'] = jaxseg; import jaxseg.data; "  # without jaxseg/__init__.py
        "print([m for m in ('jax', 'grain', 'flax', 'tensorflow') if m in sys.modules])"
    )
    package = str(pathlib.Path(jaxseg.__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", code, package], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
