"""Recipes by bare name, also outside a checkout; a path takes precedence."""

import pytest

from jaxseg.cli.config_options import read_config, read_stages, split_spec
from jaxseg.config import recipe_files
from jaxseg.config.recipe_files import recipe_file, recipe_names
from jaxseg.errors import InputError


def test_every_file_of_configs_has_a_name(repository):
    assert recipe_names() == sorted(path.stem for path in (repository / "configs").glob("*.py"))


def test_a_name_is_its_file(repository, tmp_path, monkeypatch):
    path = str(repository / "configs" / "quickstart.py")
    monkeypatch.chdir(tmp_path)
    assert read_config("quickstart").to_dict() == read_config(path).to_dict()
    names = [name for name, _ in read_stages("fcn8s:staged")]
    there = read_stages(f"{repository / 'configs' / 'fcn8s.py'}:staged")
    assert names == [name for name, _ in there] and len(names) > 1


def test_a_path_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert not split_spec("quickstart")[0].is_absolute()
    with pytest.raises(InputError, match="There is no config file quickstart"):
        read_config("quickstart")


def test_unknown_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="There is no config file quickstrt") as caught:
        read_config("quickstrt")
    assert "'quickstart'" in caught.value.remedy
    for name in ("../configs/quickstart", "", "a b"):
        assert recipe_file(name) is None


def test_in_the_wheel_they_lie_inside_the_package(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    monkeypatch.setattr(recipe_files, "_FOLDERS", (tmp_path, tmp_path / "none"))
    assert recipe_names() == ["mine"] and recipe_file("mine") == tmp_path / "mine.py"
    monkeypatch.setattr(recipe_files, "_FOLDERS", (tmp_path / "none", tmp_path / "none"))
    assert recipe_names() == [] and recipe_file("mine") is None
