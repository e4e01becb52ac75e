"""Numbers the classes of annotations, which have only names."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import ml_collections

from jaxseg.data.class_lines import is_ignored
from jaxseg.data.colours import distinct_colours
from jaxseg.data.folder_classes import folder_info
from jaxseg.data.formats.shapes import Annotations
from jaxseg.data.listing import Problem, read_class_names
from jaxseg.data.source import IGNORE, DataInfo
from jaxseg.errors import InputError, nearest
from jaxseg.utils.paths import given_path

BACKGROUND = ("background", "_background_", "__background__")


class Classes(NamedTuple):
    """The classes of a data set."""

    info: DataInfo
    numbers: Mapping[str, int]  # maps a name in the annotations to its class, or 255
    unlabelled: int  # class of pixels without a shape, or 255


def number_classes(
    config: ml_collections.ConfigDict, root: Path, found: Annotations, unlabelled: str
) -> Classes:
    """Numbers classes by `config.data.classes` or `root`/classes.txt, else in the order found.

    Args:
      config: a run's `config.data`.
      root: folder of the data set.
      found: the annotations.
      unlabelled: `config.data.unlabelled`.

    Raises:
      InputError: unlabelled pixels are background, but the file of classes has none.
    """
    listed = given_path(config.classes) if config.classes is not None else root / "classes.txt"
    name = root.resolve().name
    if config.classes is not None:
        names = read_class_names(listed)
        info = DataInfo(name, tuple(names), distinct_colours(len(names)))
    elif listed.is_file():
        info = folder_info(root, name, (), distinct_colours)
    else:
        names = [n for n in dict.fromkeys(found.class_names) if not is_ignored(n)]
        if unlabelled == "background":
            own = [n for n in names if n.lower() in BACKGROUND]
            names = [*own, "background"][:1] + [n for n in names if n not in own]
        if not names:
            raise InputError(f"{root} has no annotations.", "Label some images first.")
        info = folder_info(root, name, names, distinct_colours)
    numbers = {name: i for i, name in enumerate(info.class_names)}
    background = next((i for n, i in numbers.items() if n.lower() in BACKGROUND), None)
    if unlabelled == "background" and background is None:
        raise InputError(
            f"{listed} has no class 'background' for pixels outside all shapes.",
            "Add the line 'background' to it, or set config.data.unlabelled='ignore'.",
        )
    for name in found.class_names:
        if is_ignored(name):
            numbers.setdefault(name, IGNORE)
        elif name.lower() in BACKGROUND and background is not None:
            numbers.setdefault(name, background)
    covers_nothing = IGNORE if background is None or unlabelled == "ignore" else background
    return Classes(info, numbers, covers_nothing)


def no_class(name: str, file: Path, info: DataInfo) -> Problem:
    """The problem of a name in annotations that is not a class."""
    return Problem(
        "no class",
        str(file),
        f"{file} has shapes of '{name}', which is not one of the {info.num_classes} classes.",
        f"{nearest(name, info.class_names).rstrip('.')}; or add it to classes.txt. Shapes named "
        "'__ignore__' are ignored.",
    )
