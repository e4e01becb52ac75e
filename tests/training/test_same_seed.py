"""Two runs with one seed on photographs are bit for bit the same, for each network."""

import jax
import numpy as np
import pytest

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.cli.config_options import read_config
from jaxseg.config import set_field
from jaxseg.training.loop import train

SMALL = {  # smaller than the recipes: a few steps, narrow networks, small crops
    "fcn8s": {"model.width": 0.03, "augment.crop": (64, 64)},
    "deconvnet": {"model.width": 0.05, "model.fc_kernel": 1, "augment.crop": (64, 64)},
    "pspnet": {"model.width": 0.05, "augment.crop": (65, 65)},
}
COMMON = {
    "data.eval_split": "few",
    "data.cache": False,
    "data.threads": 4,  # their order must not matter
    "train.steps": 6,
    "train.batch_size": 8,
    "optim.warmup_steps": 2,
    "eval.every_steps": None,
    "eval.input_size": (96, 128),
    "checkpoint.every_steps": 3,
    "log.every_steps": 1,
    "log.pictures": 1,
}


@pytest.fixture
def camvid(shared_data, tmp_path):
    """CamVid with a third list that has eight validation photographs."""
    root = tmp_path / "camvid"
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for path in (shared_data / "camvid").iterdir():
        if path.name != "ImageSets":
            (root / path.name).symlink_to(path)
    for path in (shared_data / "camvid/ImageSets/Segmentation").iterdir():
        (lists / path.name).symlink_to(path)
    names = (lists / "val.txt").read_text().split()
    (lists / "few.txt").write_text("\n".join(names[:8]))
    return root


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(name, marks=pytest.mark.optimized if name == "fcn8s" else pytest.mark.nightly)
        for name in SMALL
    ],
)
def test_two_runs_of_one_seed_are_equal(network, camvid, repository, tmp_path, restored):
    config = read_config(str(repository / f"configs/camvid_{network}.py"))
    with config.unlocked():
        fields = COMMON | SMALL[network] | {"data.root": str(camvid)}
        for name, value in fields.items():
            set_field(config, name, value)

    def run(name):
        train(config, tmp_path / name)
        workdir = Workdir(tmp_path / name)
        return workdir, restored(workdir.path, config)[0]

    (one, first), (two, second) = run("one"), run("two")
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert one.scores.read_bytes() == two.scores.read_bytes()
    assert one.picture.read_bytes() == two.picture.read_bytes()
    with config.unlocked():
        config.seed = 1
    _, third = run("three")
    assert any(
        (a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(third), strict=True)
    )
