"""The built-in recipes by name: the files of `configs/`, also in the wheel."""

import pathlib

_HERE = pathlib.Path(__file__).parent
_FOLDERS = (
    _HERE / "recipes" / "configs",
    _HERE.parents[1] / "configs",
)  # in the wheel, and in a checkout


def recipe_names() -> list[str]:
    """The names of the recipes, sorted.

    >>> "quickstart" in recipe_names()
    True
    """
    return sorted(path.stem for path in _folder().glob("*.py"))


def recipe_file(name: str) -> pathlib.Path | None:
    """The file of the recipe `name`; None if there is none."""
    return _folder() / f"{name}.py" if name in recipe_names() else None


def _folder() -> pathlib.Path:
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
