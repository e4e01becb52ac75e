"""Text files that are there whole or not at all."""

import os
import pathlib


def write_whole(path: pathlib.Path, text: str) -> None:
    """Writes `text`, in UTF-8, beside `path` first: who reads `path` sees all of it or what was."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # two may write the same
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
