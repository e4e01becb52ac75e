"""The Python in the README runs as it stands there, on narrow networks and small photographs."""

import pathlib
import re

import jax
import numpy as np
import pytest
from PIL import Image

import jaxseg

_README = pathlib.Path(__file__).parents[1] / "README.md"
_BLOCKS = re.findall(r"^```python\n(.*?)^```", _README.read_text(encoding="utf-8"), re.M | re.S)


def _cases():
    for number, block in enumerate(_BLOCKS):
        if ".caffemodel" in block:
            continue  # a published file, which is not at hand
        quick = "create_model" not in block  # what makes a network compiles layer by layer
        yield pytest.param(block, id=f"block {number}", marks=[] if quick else pytest.mark.slow)


@pytest.mark.parametrize("block", list(_cases()))
def test_readme(block, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (33, 47, 3), np.uint8)).save("street.jpg")
    pathlib.Path("runs").mkdir()
    pathlib.Path("runs/camvid").symlink_to(finished[0].path, target_is_directory=True)
    make, narrow = jaxseg.create_model, {"width": 0.03, "fc_channels": 16, "padding": 1}
    monkeypatch.setattr(jaxseg, "create_model", lambda *args, **kw: make(*args, **narrow | kw))
    given = {
        "photos": rng.integers(0, 256, (2, 40, 48, 3), np.uint8),
        "labels": rng.integers(0, 21, (2, 40, 48)).astype(np.int32),
    }
    names = dict(given)
    exec(compile(block, str(_README), "exec"), names)
    made = [v for name, v in names.items() if name not in given and name != "__builtins__"]
    assert made
    arrays = [a for a in jax.tree.leaves(made) if isinstance(a, np.ndarray | jax.Array)]
    assert all(np.isfinite(a).all() for a in arrays if a.dtype != object)
