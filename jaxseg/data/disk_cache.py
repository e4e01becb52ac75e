"""A disk cache for slow results."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxseg.utils.atomic import atomic_file


def digest(*parts: Any) -> str:
    """A key for the inputs of a result (arrays, bytes, plain values): 40 hex digits.

    >>> digest("a", [1, 2]) == digest("a", [1, 2]) != digest("a", [1, 3])
    True
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            part = f"{part.dtype}{part.shape}".encode() + part.tobytes()
        data = part if isinstance(part, bytes) else repr(part).encode()
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:40]


def cached(kind: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The result of `make`, or its earlier result for the same `kind` and `key`.

    The cache is in $XDG_CACHE_HOME/jaxseg, by default ~/.cache/jaxseg; the folder can be deleted at
    any time. If it is not writable, nothing is cached. A damaged file is replaced.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(home) / "jaxseg" / kind / f"{key}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        result = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            np.save(file, result)
    except OSError:
        pass
    return result
