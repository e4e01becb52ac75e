"""Writes a data set as a plain folder: images, palette PNG masks, and text files of classes.

`config.data.name="folder"` reads this layout, and people and other programs can view it. Photos are
copied byte for byte, except those with an EXIF rotation, which are rotated.
"""

import io
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from jaxseg.data.decode import read_frame
from jaxseg.data.source import DataInfo, Example, Source
from jaxseg.errors import InputError
from jaxseg.utils.access import reason
from jaxseg.utils.atomic import write_atomic

_SUFFIXES = (  # by first bytes
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"II+\0", ".tif"),
    (b"BM", ".bmp"),
    (b"RIFF", ".webp"),
    (b"\x93NUMPY", ".npy"),
)


def write_folder(
    source: Source,
    folder: Path,
    split: str,
    progress: Callable[[Iterable], Iterable] = lambda items: items,
) -> bool:
    """Writes `source` as the split `split` of `folder`; reads and checks every photo and mask.

    Returns:
      False if the split already exists; it is not changed.

    Raises:
      InputError: a file of the source is bad, `folder` has other classes, or it cannot be written.
    """
    parts = [folder / part / split for part in ("images", "masks")]
    if all(part.is_dir() for part in parts):
        return False
    unfinished = [part.with_name(f".{split}.{os.getpid()}.unfinished") for part in parts]
    try:
        for part in unfinished:
            part.mkdir(parents=True)
        _write_classes(folder, source.info)
        taken: set[str] = set()
        for index in progress(range(len(source))):
            example = source[index]
            name = _file_name(example.name, index, taken)
            suffix, content = _photo(source, index, example)
            (unfinished[0] / f"{name}{suffix}").write_bytes(content)
            mask = Image.fromarray(example.label)
            mask.putpalette(_palette(source.info))
            mask.save(unfinished[1] / f"{name}.png")
        for part, made in zip(parts, unfinished, strict=True):
            shutil.rmtree(part, ignore_errors=True)  # remainder of an interrupted write
            made.rename(part)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({reason(error)}).",
            "Free some space there, or choose another --data-dir; finished files are kept.",
        ) from error
    finally:
        for part in unfinished:
            shutil.rmtree(part, ignore_errors=True)
    return True


def _write_classes(folder: Path, info: DataInfo) -> None:
    """Writes `classes.txt` and `palette.txt`; raises InputError if other classes exist."""
    names = "".join(f"{name}\n" for name in info.class_names)
    colours = "".join(
        f"{r} {g} {b} {name}\n"
        for (r, g, b), name in zip(info.palette, info.class_names, strict=True)
    )
    file = folder / "classes.txt"
    if file.is_file() and file.read_text(encoding="utf-8") != names:
        raise InputError(f"{file} lists other classes.", "Choose another --data-dir.")
    write_atomic(file, names)
    write_atomic(folder / "palette.txt", colours)


def _photo(source: Source, index: int, example: Example) -> tuple[str, bytes]:
    """The suffix and the content of a photo's file."""
    stored = getattr(source, "photo_bytes", None)
    content = stored(index) if stored is not None else b""
    suffix = next((suffix for start, suffix in _SUFFIXES if content.startswith(start)), None)
    if suffix is not None:
        path = f"{example.name}{suffix}"
        if suffix == ".npy" or read_frame(path, content).orientation == 1:
            return suffix, content
    file, image = io.BytesIO(), example.image
    if image.dtype == np.uint8 and image.shape[2] == 3:
        Image.fromarray(image).save(file, "PNG")
        return ".png", file.getvalue()
    np.save(file, image)
    return ".npy", file.getvalue()


def _file_name(name: str, index: int, taken: set[str]) -> str:
    """The name of an example without folders; with its number if the name is taken."""
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "image"
    plain = plain if plain.lower() not in taken else f"{plain}_{index}"
    taken.add(plain.lower())
    return plain


def _palette(info: DataInfo) -> bytes:
    table = np.full((256, 3), 224, np.uint8)
    table[: info.num_classes] = info.palette
    return table.tobytes()
