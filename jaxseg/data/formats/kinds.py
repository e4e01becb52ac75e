"""Detects the tool that wrote a JSON file, to report a file in the wrong format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxseg.errors import InputError

_TITLES = {
    "coco": "COCO JSON",
    "labelme": "LabelMe JSON",
    "labelstudio": "Label Studio JSON",
}


def kinds_of(data: Any) -> list[str]:
    """The formats that parsed JSON matches.

    >>> kinds_of({"images": [], "annotations": [], "categories": []}), kinds_of({"shapes": []})
    (['coco'], ['labelme'])
    """
    found = []
    if isinstance(data, Mapping):
        lists = {key for key, value in data.items() if isinstance(value, list)}
        if {"images", "annotations", "categories"} <= lists:
            found.append("coco")
        if "shapes" in lists:
            found.append("labelme")
    tasks = data if isinstance(data, list) else [data]
    if tasks and all(isinstance(t, Mapping) and "data" in t and
                     ("annotations" in t or "completions" in t) for t in tasks):  # fmt: skip
        found.append("labelstudio")
    return found


def check_kind(data: Any, file: Path, wanted: str) -> None:
    """Raises InputError unless parsed JSON is in the format `wanted`, and in no other."""
    found = kinds_of(data)
    if found == [wanted]:
        return
    if len(found) > 1:
        raise InputError(
            f"{file} is {' and '.join(_TITLES[f] for f in found)} at once.",
            "Export it again, with the annotations of one tool in each file.",
        )
    if found:
        raise InputError(
            f"{file} is {_TITLES[found[0]]}, not {_TITLES[wanted]}.",
            f"Set config.data.name='{found[0]}'.",
        )
    raise InputError(
        f"{file} is not {_TITLES[wanted]}.", f"Export it from the tool again, as {_TITLES[wanted]}."
    )
