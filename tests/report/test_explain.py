"""Pictures of a network's activations."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli import run
from jaxseg.errors import InputError
from jaxseg.report.explain import explain
from jaxseg.visualization.heatmap import choose_channel, heat


def test_the_channel_is_the_one_that_follows_the_class():
    rng = np.random.default_rng(0)
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    maps = rng.random((8, 12, 5))
    maps[2:6, 4:10, 3] += 100  # large values, but channel 1 correlates better
    maps[..., 1] = 0.01 * mask[::5, ::5] + 3
    maps[0, 0, 3] += 100
    assert choose_channel(maps, mask) == 1
    assert choose_channel(-maps, mask) not in (1, 3)
    assert choose_channel(np.array([[[1.0, 5.0, 2.0]]]), mask) == 1  # a single cell: the largest


def test_heat_runs_from_dark_to_bright():
    values = np.array([[-3.0, 1.0], [5.0, 1.0]])
    colours = heat(values).astype(int)
    assert colours.shape == (2, 2, 3)
    brightness = colours.sum(-1)
    assert brightness[0, 0] < brightness[0, 1] == brightness[1, 1] < brightness[1, 0]
    assert len(np.unique(heat(np.ones((4, 4))).reshape(-1, 3), axis=0)) == 1


@pytest.mark.slow
def test_a_page_for_each_run(finished, tmp_path, capsys):
    """For FCN-8s the page has photo, truth, prediction, predictions without skips, and layers."""
    workdir = finished[0].path
    words = ["explain", "--workdir", str(workdir), "--out", str(tmp_path / "out")]
    assert run([*words, "--image", "3", "--class", finished[1]["class_names"][1]]) == 0
    path = tmp_path / "out" / f"{workdir.name}.png"
    assert capsys.readouterr().out == f"{path}\n"
    page = np.asarray(Image.open(path))
    assert page.shape[1] == 5 * (170 + 8) + 8
    photo = page[26 : 26 + 170, 8 : 8 + 170]
    assert photo.std() > 10
    complete = page[26 : 26 + 170, 8 + 2 * 178 :][:, :170]
    with_all = page[26 + 196 : 26 + 196 + 170, 8 + 2 * 178 :][:, :170]
    np.testing.assert_array_equal(complete, with_all)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--image", "5"], "from 0 to 4"),
        (["--image", "-1"], "from 0 to 4"),
        (["--class", "grond"], "'ground'"),
    ],
)
def test_refusals(finished, tmp_path, capsys, more, part):
    out = tmp_path / "out"
    assert run(["explain", "--workdir", str(finished[0].path), "--out", str(out), *more]) == 2
    err = capsys.readouterr().err
    assert part in err and not out.exists()
    assert run(["explain", "--workdir", str(tmp_path), "--out", str(out)]) == 2
    assert "config.json" in capsys.readouterr().err


@pytest.mark.slow
def test_several_runs_stand_side_by_side(finished, tmp_path):
    import shutil

    other = shutil.copytree(finished[0].path, tmp_path / "other")
    pages = explain([finished[0].path, other], tmp_path / "out")
    assert [p.name for p in pages] == ["run.png", "other.png", "side-by-side.png"]
    page = np.asarray(Image.open(pages[2]))
    one, same = (page[26 : 26 + 170, 8 + i * 178 :][:, :170] for i in (2, 3))
    np.testing.assert_array_equal(one, same)
    with pytest.raises(InputError, match="Two workdirs have the name other"):
        explain([other, other], tmp_path / "out")
