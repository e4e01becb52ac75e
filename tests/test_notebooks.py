"""The notebooks of docs/examples run from the first cell to the last, with few steps."""

import json
import pathlib
import re

import numpy as np
import pytest

BOOKS = sorted((pathlib.Path(__file__).parents[1] / "docs" / "examples").glob("*.ipynb"))
QUICK = {"STEPS": 3, "IMAGES": 8, "COUNT": 8}


def _cells(book: pathlib.Path) -> list[str]:
    found = json.loads(book.read_text(encoding="utf-8"))
    assert (found["nbformat"], found["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert all(not cell.get("outputs") for cell in found["cells"])  # stored without outputs
    return ["".join(c["source"]) for c in found["cells"] if c["cell_type"] == "code"]


def _quick(cell: str) -> str:
    """The cell with smaller numbers in an assignment such as `STEPS, SIZE = 60, (65, 65)`."""
    for line in re.findall(r"^[A-Z]+(?:, [A-Z]+)* = .*$", cell, re.M):
        names, values = line.split(" = ")
        numbers = list(eval(values)) if "," in names else [eval(values)]
        few = [QUICK.get(n, v) for n, v in zip(names.split(", "), numbers, strict=True)]
        cell = cell.replace(line, f"{names} = {', '.join(map(repr, few))}")
    return cell


LONG = ("three_networks", "inside_linen", "own_loop")  # minutes to compile


@pytest.mark.parametrize(
    "book",
    [
        pytest.param(
            b, id=b.stem, marks=pytest.mark.nightly if b.stem in LONG else pytest.mark.slow
        )
        for b in BOOKS
    ],
)
def test_notebook(book, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "__main__"}
    for number, cell in enumerate(_cells(book)):
        exec(compile(_quick(cell), f"{book.name}, cell {number}", "exec"), names)
    losses = [v for k, v in names.items() if k == "loss"]
    assert np.isfinite(np.asarray(losses, float)).all()
    if "labels" in names:
        assert np.asarray(names["labels"]).dtype == np.uint8


def test_there_is_one_for_each_use():
    assert {"predict_by_name", "fine_tune", "inside_nnx", "inside_linen"} <= {
        book.stem for book in BOOKS
    }
    assert all(len(_cells(book)) >= 3 for book in BOOKS)
