"""The recipes that come with jaxseg, by name: the files of `configs/`, in the wheel, too."""

import pathlib

_HERE = pathlib.Path(__file__).parent
_FOLDERS = (
    _HERE / "recipes" / "configs",
    _HERE.parents[1] / "configs",
)  # of the wheel, of a checkout


def recipe_names() -> list[str]:
    """The names, sorted.

    >>> "quickstart" in recipe_names()
    True
    """
    return sorted(path.stem for path in _folder().glob("*.py"))


def recipe_file(name: str) -> pathlib.Path | None:
    """The file of the recipe `name`, if there is one."""
    return _folder() / f"{name}.py" if name in recipe_names() else None


def _folder() -> pathlib.Path:
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
