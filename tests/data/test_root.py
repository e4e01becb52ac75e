"""A folder of data that is none: an archive, a file, a path that was copied with its quotes."""

import pathlib
import re
import zipfile

import pytest

from jaxseg.data.listing import files_by_stem, paired
from jaxseg.data.root import check_root
from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError

INFO = DataInfo("a", ("road", "car"), ((0, 0, 0), (1, 1, 1)))


def test_what_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my data").mkdir()
    with zipfile.ZipFile("photos.zip", "w") as file:
        file.writestr("a", "b")
    (tmp_path / "photos.7z").write_bytes(b"7z")
    (tmp_path / "classes.txt").write_text("road")
    for name, problem, fix in (
        ("photos.zip", "is an archive, not a folder", "Unpack it"),
        ("photos.7z", "is an archive, not a folder", "Unpack it"),
        ("classes.txt", "is a file, not a folder", "Give the folder"),
        ("'my data'", "There is no folder", "Did you mean my data?"),
        (" my data ", "There is no folder", "Did you mean my data?"),
        (f"{tmp_path}\\my data", "There is no folder", f"Did you mean {tmp_path / 'my data'}?"),
    ):
        with pytest.raises(InputError) as raised:
            check_root(pathlib.Path(name))
        assert problem in raised.value.problem and fix in raised.value.remedy
    check_root(tmp_path / "my data")
    check_root(tmp_path / "none")  # the data set describes its layout


@pytest.mark.parametrize(
    ("masks", "part"),
    [
        (["a_m", "b_m"], "data.mask_suffix='_m'"),
        (["a_car", "b_car", "a_sky", "b_sky"], "Every photo has 2 masks, .* '_car', '_sky'"),
    ],
)
def test_masks_with_endings(masks, part):
    photos, masks = ({n: [pathlib.Path(n)] for n in names} for names in (["a", "b"], masks))
    here = pathlib.Path("none")
    problems = paired(INFO, photos, masks, None, mask_folder=here, photo_folder=here).problems
    assert all(re.search(part, problem.remedy) for problem in problems) and problems


def test_predictions_as_masks(tmp_path):
    """Their legend is no mask; a file of that name without classes.json is one."""
    for name in ("a.png", "classes.png", "classes.json"):
        (tmp_path / name).touch()
    assert list(files_by_stem(tmp_path, (".png",))) == ["a"]
    (tmp_path / "classes.json").unlink()
    assert list(files_by_stem(tmp_path, (".png",))) == ["a", "classes"]
