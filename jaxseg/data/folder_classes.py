"""The classes of a folder, and their colours: `classes.txt`, `palette.txt` or `labelmap.txt`.

`classes.txt` has one name per line, or lines `name r g b`; `palette.txt` (as in CamVid) has lines
`r g b name`. Any number of lines named `ignore` may give colours that belong to no class.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from jaxseg.data import labelmap
from jaxseg.data.class_lines import Named, is_ignored, named_colours
from jaxseg.data.listing import checked_names, read_class_names, read_lines
from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError

_Colours = tuple[tuple[int, int, int], ...]


def folder_info(
    root: Path, name: str, names: Sequence[str], colours: Callable[[int], _Colours]
) -> DataInfo:
    """The classes and colours that the files of `root` give.

    Args:
      root: folder of the data set.
      name: name of the data set.
      names: the classes, if no file names them.
      colours: the colours of a number of classes, if no file has colours.

    Raises:
      InputError: a file is malformed, or two files disagree; the message names the file and line.
    """
    classes_file, palette_file = root / "classes.txt", root / "palette.txt"
    file, lines = colour_lines(root)
    if classes_file.is_file():
        names = read_class_names(classes_file)
    elif file is not None and file.name == labelmap.FILE:
        names = [line.name for line in lines]
    elif not names:  # they follow the colours
        found = [line.name for line in lines if not is_ignored(line.name)]
        names = checked_names(palette_file, found)
    lines = [line for line in lines if line.name in names or not is_ignored(line.name)]
    if not lines:
        return DataInfo(name, tuple(names), colours(len(names)))
    if len(lines) != len(names):
        without = "the standard VOC classes (no classes.txt)"
        where = classes_file if classes_file.is_file() else without
        raise InputError(
            f"{palette_file} has {len(lines)} colours, but {where} has {len(names)} names.",
            "Write one line `R G B name` for each class.",
        )
    by_name = {line.name: line.colour for line in lines}
    missing = [n for n in names if n not in by_name]
    if 0 < len(missing) < len(names):
        raise InputError(
            f"{palette_file} has no colour for the class '{missing[0]}', but it names other "
            "classes.",
            "Write one line `R G B name` for each class. Or leave out all names; the colours are "
            "then in the order of the classes.",
        )
    if missing:
        return DataInfo(name, tuple(names), tuple(line.colour for line in lines))
    return DataInfo(name, tuple(names), tuple(by_name[n] for n in names))


def colour_lines(root: Path) -> tuple[Path | None, list[Named]]:
    """The colours in classes.txt, else those in palette.txt; without both files, labelmap.txt.

    Returns:
      The file, None if there are no colours; and the colours in the order of the file, with their
      names, which may be empty in palette.txt.

    Raises:
      InputError: a line is malformed; the message names the file and line.
    """
    classes, palette, exported = (root / f for f in ("classes.txt", "palette.txt", labelmap.FILE))
    if classes.is_file() and (lines := named_colours(read_lines(classes))) is not None:
        return classes, lines
    if palette.is_file():
        rows = enumerate(read_lines(palette))
        return palette, [_palette_line(palette, row, line) for row, line in rows]
    if exported.is_file() and not classes.is_file():
        return exported, labelmap.read_labelmap(exported)
    return None, []


def _palette_line(path: Path, row: int, line: str) -> Named:
    words = line.split(maxsplit=3)
    if len(words) < 3 or not all(w.isdecimal() and int(w) < 256 for w in words[:3]):
        raise InputError(
            f"Line {row + 1} of {path} is '{line}'.", "Write `R G B name`, each of R G B in 0..255."
        )
    red, green, blue = map(int, words[:3])
    return Named(words[3].strip() if len(words) > 3 else "", (red, green, blue))
