"""Describes files that are not images, with a fix."""

import os
from pathlib import Path

from PIL import UnidentifiedImageError

from jaxseg.utils.paths import meant_path

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_WHOLE = "Replace the file with an undamaged one, or remove it."
_DOWNLOAD = "Open the link in a browser and download the image itself."
_KINDS = (  # first bytes in lower case, description, fix
    (b"<!doctype html", "it is a web page", _DOWNLOAD),
    (b"<html", "it is a web page", _DOWNLOAD),
    (b"version https://git-lfs", "it is a Git LFS pointer", "Fetch the file: git lfs pull."),
    (b"<svg", "it is an SVG drawing", "Save it as PNG, in the size that it is to have."),
    (b"<?xml", "it is an XML file", "Save it as PNG, in the size that it is to have."),
    (b"%pdf", "it is a PDF", "Save its pages as PNG."),
    (b"pk\3\4", "it is a zip archive", "Unpack it, and give the folder."),
    (b"\x1f\x8b", "it is compressed by gzip", "Unpack it first."),
    (b"\x93numpy", "it is a NumPy array", "Rename it so that it ends in .npy."),
)


def what_it_is(path: str | os.PathLike, data: bytes | None, error: Exception) -> tuple[str, str]:
    """The reason why `path` cannot be decoded, without a full stop, and a sentence on the fix.

    Args:
      path: the file.
      data: its bytes, if they are not from the file.
      error: error of the decoder or of the system.
    """
    if data is None and isinstance(error, FileNotFoundError):
        meant = meant_path(Path(path))
        return "No such file", f"Did you mean {meant}?" if meant else (
            "Correct the path; a path without a leading / is relative to the current folder."
        )
    if data is None and isinstance(error, PermissionError):
        return "No permission to read it", "Make the file readable for this user."
    if data is None and os.path.isdir(path):
        return "it is a folder", "Give the path of a file in the folder."
    suffix = Path(path).suffix.lower()
    start = (data if data is not None else _start(path))[:512].lstrip()
    if suffix in VIDEOS or start[4:12] in (b"ftypisom", b"ftypmp42", b"ftypqt  "):
        return "it is a video", "Split it into images first: ffmpeg -i VIDEO frames/%05d.png"
    if start.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        return "it is a JPEG 2000 image", "Convert it: gdal_translate IN.jp2 OUT.tif"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "it is an AVIF image", "Save it as JPEG or PNG."
    if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "it is a JPEG XL image", "Save it as JPEG or PNG."
    if suffix in (".heic", ".heif") or start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "it is an HEIC image", "Save it as JPEG or PNG."
    for first, what, remedy in _KINDS:
        if start.lower().startswith(first):
            return what, remedy
    if not start:
        return "it is empty", _WHOLE if data is None else "Send the bytes of an image."
    if suffix in (".txt", ".lst", ".csv"):
        return "it is a text", "Give images; `predict` takes a text that lists them with --list."
    if isinstance(error, UnidentifiedImageError) and start.startswith((b"II", b"MM")):
        return (
            "it is a TIFF with bands other than 8-bit grey or RGB",
            "Set config.data.channels and config.data.bits to those of the file.",
        )
    if isinstance(error, UnidentifiedImageError):  # its text has the name of a Python object
        return "its format is not supported", _WHOLE
    return (str(error) or type(error).__name__).rstrip("."), _WHOLE


def _start(path: str | os.PathLike) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except (OSError, ValueError):  # ValueError: an invalid path
        return b""
