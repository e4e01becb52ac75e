"""The file of a run's classes, for use without the data set."""

import json
import os

from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError
from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.paths import given_path


def save_classes(info: DataInfo, path: str | os.PathLike) -> None:
    """Writes names and colours of the classes atomically, as JSON with one line per key."""
    about = {
        "name": info.name,
        "class_names": info.class_names,
        "palette": info.palette,
        "ignore_label": info.ignore_label,
    }
    lines = (f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in about.items())
    write_atomic(given_path(path), "{\n" + ",\n".join(lines) + "\n}\n")


def check_same_classes(info: DataInfo, path: str | os.PathLike) -> None:
    """Raises InputError if a run's file of classes exists and differs from `info`."""
    if not given_path(path).is_file():
        return
    saved = load_classes(path).class_names
    if saved == info.class_names:
        return
    same = sorted(saved) == sorted(info.class_names)
    how = "the classes in another order" if same else "other classes"
    raise InputError(
        f"The data set '{info.name}' has {how} than the run: it has "
        f"{', '.join(info.class_names)}, but {path} has {', '.join(saved)}.",
        "Use the classes of the run in the same order (classes.txt), or train in another workdir.",
    )


def load_classes(path: str | os.PathLike) -> DataInfo:
    """Reads a file written by `save_classes`.

    Raises:
      InputError: the file cannot be read, or is damaged.
    """
    try:
        about = json.loads(given_path(path).read_text(encoding="utf-8"))
        names = tuple(map(str, about["class_names"]))
        palette = tuple((int(r), int(g), int(b)) for r, g, b in about["palette"])
        return DataInfo(str(about["name"]), names, palette, int(about["ignore_label"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # includes InputError
        raise InputError(f"{path} is damaged.", "Restore the file, or train again.") from None
