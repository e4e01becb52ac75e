"""Text files that are there whole or not at all."""

import os
import pathlib

from jaxseg.utils.bucket import is_bucket


def write_whole(path: pathlib.Path, text: str) -> None:
    """Writes `text`, in UTF-8, beside `path` first: who reads `path` sees all of it or what was.

    In a bucket, where nothing is seen of an object before it is whole, it is written in its place.
    """
    if is_bucket(path):
        path.write_text(text, encoding="utf-8")
        return
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # two may write the same
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
