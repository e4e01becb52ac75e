"""Python code in README and docs runs unchanged, on narrow networks and small images."""

import pathlib
import re

import jax
import numpy as np
import pytest
from PIL import Image

import jaxseg

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
# Files that tests do not have: published weights, and an exported program (see tests/export).
ABSENT = (".caffemodel", ".stablehlo")


def _cases():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
        for number, block in enumerate(blocks):
            if any(kind in block for kind in ABSENT):
                continue
            slow = "create_model" in block  # building a network compiles layer by layer
            name = f"{page.relative_to(ROOT).with_suffix('')} {number}"
            yield pytest.param(block, id=name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("block", list(_cases()))
def test_code_runs(block, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("street.jpg", "image.png"):
        Image.fromarray(rng.integers(0, 256, (33, 47, 3), np.uint8)).save(name)
    pathlib.Path("runs").mkdir()
    for name in ("camvid", "quickstart"):
        pathlib.Path("runs", name).symlink_to(finished[0].path, target_is_directory=True)
    make = jaxseg.create_model

    def narrow(name, *args, **fields):
        small = {"width": 0.03}
        if "pspnet" not in name:
            small["fc_channels"] = 16
            small |= {"fc_kernel": 1} if "deconvnet" in name else {"padding": 1}
        return make(name, *args, **small | fields)

    monkeypatch.setattr(jaxseg, "create_model", narrow)
    side = 64 if "deconvnet" in block else 41
    given = {
        "photos": rng.integers(0, 256, (2, side, side, 3), np.uint8),
        "labels": rng.integers(0, 6, (2, side, side)).astype(np.int32),
    }
    names = dict(given)
    exec(compile(block, "a block", "exec"), names)
    made = [v for name, v in names.items() if name not in given and name != "__builtins__"]
    assert made
    arrays = [a for a in jax.tree.leaves(made) if isinstance(a, np.ndarray | jax.Array)]
    numbers = [
        a
        for a in arrays
        if a.dtype != object and not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key)
    ]
    assert all(np.isfinite(a).all() for a in numbers)
