"""Small JSON files: reading, where they may be damaged, and writing."""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is damaged, contains something else, or is nested too deeply.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} contains no object")
    return value


def json_text(value: Any) -> str:
    """The JSON of a value of dicts, lists, arrays, numbers, strings and paths, with a last newline.

    NaN and infinities, which JSON lacks, become null.

    >>> print(json_text({"iou": np.array([0.5, np.nan]), "run": pathlib.Path("a")}), end="")
    {
     "iou": [
      0.5,
      null
     ],
     "run": "a"
    }
    """
    return json.dumps(_for_json(value), indent=1, allow_nan=False) + "\n"


def _for_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _for_json(v) for key, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _for_json(value.tolist())
    if isinstance(value, list | tuple):
        return [_for_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value
