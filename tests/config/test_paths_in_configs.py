"""A run's config means the same in every folder; ~ is expanded in every path option."""

import pathlib

import pytest

from jaxseg.checkpoint.workdir import Workdir, _same
from jaxseg.cli.parser import Parser
from jaxseg.config import default_config, set_field
from jaxseg.config.files import absolute_paths
from jaxseg.errors import InputError


def test_existing_paths_become_absolute(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = default_config()
    for name, value in (
        ("data.root", "data"),
        ("eval.ensemble", "~/data"),
        ("init.pretrained", "a_name_of_a_network"),
        ("data.sbd_root", "gs://mine/sbd"),
    ):
        set_field(config, name, value)
    whole = absolute_paths(config)
    assert whole.data.root == whole.eval.ensemble == str(tmp_path / "data")
    assert whole.init.pretrained == "a_name_of_a_network"
    assert whole.data.sbd_root == "gs://mine/sbd"
    assert config.data.root == "data"  # only the copy changed


def test_two_paths_to_one_place_are_one_value(tmp_path, monkeypatch):
    (tmp_path / "a.pth").touch()
    monkeypatch.chdir(tmp_path)
    assert _same("init.pretrained", str(tmp_path / "a.pth"), "a.pth")
    assert not _same("init.pretrained", "a.pth", "b.pth")
    assert not _same("model.name", "a.pth", str(tmp_path / "a.pth"))


def test_home_behind_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    parser = Parser("x", "x", [])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--workdir", type=pathlib.Path, nargs="+")
    args = parser.parse_args(["--out=~/o", "--workdir", "~/a", "b"])
    assert args.out == tmp_path / "o"
    assert args.workdir == [tmp_path / "a", pathlib.Path("b")]


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("runs/a/checkpoints", "Give --workdir .*runs/a."),
        ("runs/a/checkpoints/30", "Give --workdir .*runs/a --step 30."),
        ("runs", "contains the runs a, b; give one of them"),
        ("runs/c", "no such folder. .* contains the runs a, b"),
        ("elsewhere", "Give a folder written by"),
    ],
)
def test_a_folder_near_a_workdir_leads_to_it(tmp_path, given, remedy):
    for run in "ab":
        (tmp_path / f"runs/{run}/checkpoints/30").mkdir(parents=True)
        (tmp_path / f"runs/{run}/config.json").touch()
    with pytest.raises(InputError, match=f"is not a run's workdir: .*{remedy}"):
        Workdir.existing(tmp_path / given)
