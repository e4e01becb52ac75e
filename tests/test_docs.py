"""The documents are correct: links resolve, and the files and Python names in them exist."""

import ast
import pathlib
import pkgutil
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("launch/*.md")])
OF_TODAY = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]  # it names removed files

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A path that begins with a top-level folder. `tests/a.py::test` and `configs/a.py:variant` count as
# their file; `jaxseg/models/YOURS.py` is a placeholder.
PATH = re.compile(r"(?<![\w./-])(?:configs|docs|jaxseg|launch|tests|\.ci|\.github)/[\w./*-]*")
NAME = re.compile(r"(?<![\w./-])jaxseg(?:\.\w+)+")


def each(documents):
    names = [path.relative_to(ROOT).as_posix() for path in documents]
    return pytest.mark.parametrize("document", documents, ids=names)


def text_of(path):
    return path.read_text(encoding="utf-8")


def anchors(path):
    """The anchors of a Markdown file's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.M | re.S)
    titles = re.findall(r"^#+ +(.*?) *$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(path):
    for link in LINK.findall(text_of(path)):
        if re.match(r"[a-z]+:", link):
            continue  # external links need a network
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists():
            yield link
        elif anchor and anchor not in anchors(target):
            yield link


def missing_files(path):
    for name in PATH.findall(text_of(path)):
        name = name.rstrip("./")
        if "YOUR" not in name and not any(ROOT.glob(name)):
            yield name


def missing_names(path):
    for name in NAME.findall(text_of(path)):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            yield name


@each(DOCUMENTS)
def test_links_resolve(document):
    assert list(broken_links(document)) == []


@each(OF_TODAY)
def test_named_files_exist(document):
    assert list(missing_files(document)) == []


@each(OF_TODAY)
def test_python_names_exist(document):
    assert list(missing_names(document)) == []


def test_what_is_missing_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One title, two\n[a](#one-title-two) [b](#three) [c](page.md#one-title-two) [d](no.md)\n"
        "`configs/fcn8s.py:staged` `configs/fcn9s.py`, `jaxseg/models/YOURS.py`, tests/ops.\n"
        "`jaxseg.ops.max_unpool(x)`, `python -m jaxseg.main`, `jaxseg.ops.max_unpoll`\n"
    )
    assert list(broken_links(page)) == ["#three", "no.md"]
    assert list(missing_files(page)) == ["configs/fcn9s.py"]
    assert list(missing_names(page)) == ["jaxseg.ops.max_unpoll"]


def nested_sections(source):
    """The docstrings in which "Returns:" or "Raises:" stands below "Args:", as another argument."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if re.search(r"^ +(?:Returns|Raises|Yields):$", ast.get_docstring(node) or "", re.M):
                yield node.name


def test_sections_of_docstrings_are_not_nested():
    files = sorted(ROOT.glob("jaxseg/**/*.py"))
    assert {f.name: names for f in files if (names := list(nested_sections(text_of(f))))} == {}
    nested = 'def f(x):\n    """F.\n\n    Args:\n      x: X.\n\n      Returns:\n        Y.\n    """'
    assert list(nested_sections(nested)) == ["f"]
