"""Opens weight files of all supported formats: names and arrays."""

import dataclasses
import os
import pathlib
import string
from collections.abc import Mapping

import numpy as np

from jaxseg.errors import InputError
from jaxseg.pretrained.formats.caffe import read_caffe
from jaxseg.pretrained.formats.pytorch import read_torch
from jaxseg.pretrained.formats.safetensors import read_safetensors
from jaxseg.pretrained.formats.stored import Stored, StoredArrays
from jaxseg.utils.access import reason
from jaxseg.utils.paths import given_path


@dataclasses.dataclass(frozen=True)
class TensorFile:
    """The tensors of a file, and its kind.

    Attributes:
      path: path of the file.
      container: "caffe", "torch", "safetensors" or "jaxseg".
      tensors: the arrays by name, in the file's order; read-only, in the file's own dtype (float16,
        bfloat16, float32, float64, integers, bool), each read at every access. Caffe's are named
        "LAYER/BLOB" ("conv1_1/0", "conv5_4/bn/3") and have the file's shape, which old files store
        as 4-D even for a bias: (1, 1, 1, N). PyTorch's have the names of the state dict, without a
        common prefix of a wrapper, such as "module." or "_orig_mod.".
      layer_types: Caffe only: the type of every layer, in the file's order: a string
        ("Convolution"), or a number (4) in files of the V1 format. Includes layers without blobs.
      notes: one sentence for each part that was unwrapped, stripped or skipped.
    """

    path: pathlib.Path
    container: str
    tensors: Mapping[str, np.ndarray]
    layer_types: Mapping[str, str | int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_tensors(path: str | os.PathLike) -> TensorFile:
    """Opens a weight file: reads names and shapes; the arrays are read when they are used.

    The kind of file is detected from its first bytes, not from its name. No code in it is executed.

    Args:
      path: a `.caffemodel`, a PyTorch `.pth`/`.pt` or a `.safetensors` file.

    Raises:
      InputError: the file does not exist, has another format, or is damaged.
    """
    path = given_path(path)
    start = _start(path)
    _refuse_others(path, start)
    if start[8:9] == b"{":
        places, notes = _without_prefix(read_safetensors(path), ())
        return TensorFile(path, "safetensors", StoredArrays(path, places), notes=notes)
    if start.startswith((b"PK\3\4", b"\x80")):
        places, notes = _without_prefix(*read_torch(path))
        return TensorFile(path, "torch", StoredArrays(path, places), notes=notes)
    places, types = read_caffe(path)
    return TensorFile(path, "caffe", StoredArrays(path, places), types)


def _start(path: pathlib.Path) -> bytes:
    """The first bytes of an existing, non-empty file."""
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder.", "Give the path of a file of weights.")
    if not os.path.isfile(path):
        raise InputError(f"There is no file {path}.", "Give the path of a file of weights.")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {reason(error)}.", "Make it readable, or give another file."
        ) from None
    if not start:
        raise InputError(f"{path} is empty.", "Download it again.")
    return start


_PROGRAMS = (".stablehlo", ".onnx", ".tflite", ".pb", ".engine", ".mlmodel")
_TAKEN = "Give a .caffemodel, a PyTorch .pth or a .safetensors file."
_OTHERS = (  # other files that are mistaken for weights: first bytes, kind, fix
    (b"<!doctype html", "a web page", "Open the link in a browser and download the file itself."),
    (b"<html", "a web page", "Open the link in a browser and download the file itself."),
    (b"version https://git-lfs", "a Git LFS pointer", "Fetch the file itself: git lfs pull."),
    (b"\x1f\x8b", "compressed with gzip", "Unpack it first."),
    (b"bzh", "compressed with bzip2", "Unpack it first."),
    (b"\xfd7zxz", "compressed with xz", "Unpack it first."),
    (b"\x89hdf", "an HDF5 file, as written by Keras", _TAKEN),
    (b"\x93numpy", "a NumPy array", _TAKEN),
    (b"\x89png", "an image", _TAKEN),
    (b"\xff\xd8\xff", "an image", _TAKEN),
)
_TEXT = frozenset(string.printable.encode())


def _refuse_others(path: pathlib.Path, start: bytes) -> None:
    """Raises InputError for a file whose first bytes show that it is not a weight file."""
    for first, what, remedy in _OTHERS:
        if start.lstrip().lower().startswith(first):
            raise InputError(f"{path} is {what}, not a weight file.", remedy)
    if path.suffix.lower() in _PROGRAMS:
        raise InputError(
            f"{path} is an exported program, not a weight file.",
            "Give the run or the weights that it was exported from; docs/guides/export.md shows "
            "how to run the program itself.",
        )
    if start[257:262] == b"ustar":
        raise InputError(
            f"{path} is a tar archive, not a weight file.",
            "Unpack it, and give the weight file inside.",
        )
    if _TEXT.issuperset(start):
        raise InputError(f"{path} is a text file, not a weight file.", _TAKEN)


# Wrappers of a network in training, which add a prefix to all tensor names.
_WRAPPERS = ("module", "_orig_mod", "model", "net", "network", "_module", "student", "ema_model")
_PARTS = ("features", "backbone")  # parts of a network; converters know files with these prefixes


def _without_prefix(
    places: dict[str, Stored], notes: tuple[str, ...]
) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """Removes prefixes such as "module." or "_orig_mod." that all names have in common."""
    while places:
        first = next(iter(places)).partition(".")[0]
        prefix, rest = f"{first}.", [name.partition(".")[2] for name in places]
        known = first in _WRAPPERS or (first not in _PARTS and all("." in name for name in rest))
        if not known or not all(rest) or not all(name.startswith(prefix) for name in places):
            break
        places = dict(zip(rest, places.values(), strict=True))
        notes = (*notes, f"Every name begins with '{prefix}', which is removed.")
    return places, notes
