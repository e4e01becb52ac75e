"""The folder format of jaxseg's exported networks.

Such a folder contains two files. `variables.safetensors` has every parameter and statistic by path
("params/conv1_1/kernel"). `model.json` has the network, the normalisation of its images, the names
and colours of its classes, its evaluation protocol, and its origin. Values are float32 (format 1),
or float16 or bfloat16 with half the size (format 2). Arrays outside the range of float16, such as a
large variance, stay float32 (format 3).
"""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax.traverse_util import flatten_dict
from safetensors import SafetensorError
from safetensors.numpy import save_file

from jaxseg.checkpoint.checksums import checksum
from jaxseg.checkpoint.workdir import Workdir, run_above
from jaxseg.config import default_config, set_field, validate
from jaxseg.data import DataInfo
from jaxseg.data.colours import voc_palette
from jaxseg.errors import InputError
from jaxseg.models import SegmentationModel, create_model
from jaxseg.nn.fields import check_choice, field_names
from jaxseg.pretrained.formats.safetensors import read_safetensors
from jaxseg.pretrained.formats.stored import StoredArrays
from jaxseg.pretrained.tensor_file import TensorFile
from jaxseg.utils.access import check_readable, reason
from jaxseg.utils.paths import given_path

_FORMATS = {  # by dtypes of the variables
    frozenset({"float32"}): 1,
    frozenset({"float16"}): 2,
    frozenset({"bfloat16"}): 2,
    frozenset({"float16", "float32"}): 3,
    frozenset({"bfloat16", "float32"}): 3,
}
VARIABLES_FILE, MODEL_FILE = "variables.safetensors", "model.json"
# Fields of `config.eval` that depend on a machine or a data set, and are not saved.
_LOCAL = ("batch_size", "boundary", "boxes", "ensemble", "ensemble_rule", "every_steps", "absent")


@dataclasses.dataclass(frozen=True, kw_only=True)
class JaxsegFile(TensorFile):
    """A network in jaxseg's own format as a `TensorFile`, with container "jaxseg".

    Attributes:
      tensors: the variables by path, such as "params/conv1_1/kernel".
      name: name of the network for `create_model`.
      model: the network with all its fields.
      info: names and colours of the classes; None if unknown.
      source: origin of the variables, for people to read.
      eval: the protocol, as `config.eval`; None if unknown.
      run: the run that trained it, if any.
      step: step of the run's checkpoint.
      bands: endings of the names of an image's files, one per channel, as
        `config.data.band_suffixes`; empty if a file has all channels.
    """

    name: str
    model: SegmentationModel
    info: DataInfo | None = None
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    eval: ml_collections.ConfigDict | None = None
    run: Workdir | None = None
    step: int | None = None
    bands: tuple[str, ...] = ()


def save_exported(
    folder: str | os.PathLike,
    name: str,
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    class_names: Sequence[str] | None = None,
    info: DataInfo | None = None,
    eval: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    bands: Sequence[str] = (),
) -> None:
    """Writes a network's folder, atomically.

    Args:
      folder: folder to write; it must be empty or not exist.
      name: name of the network for `create_model`.
      model: the network.
      variables: the variables for its `apply`.
      class_names: one for each class, if known.
      info: names and colours of the classes, instead of `class_names`.
      eval: its protocol, as fields of `config.eval`.
      source: origin of the variables as JSON, for people to read.
      dtype: dtype of the values in the file: "float32", or "float16" or "bfloat16", rounded. An
        array with values outside the range of float16 stays float32.
      bands: as `config.data.band_suffixes`.

    Raises:
      InputError: an unknown dtype; `folder` is not empty, or cannot be written.
    """
    check_free(folder)
    folder = pathlib.Path(os.path.abspath(given_path(folder)))
    check_choice("dtype", dtype, ("float32", "float16", "bfloat16"))
    arrays = {
        path: _rounded(np.asarray(array, np.float32), dtype)
        for path, array in flatten_dict(dict(variables), sep="/").items()
    }
    if info is not None:
        class_names = info.class_names
    about = {
        "format": _FORMATS[frozenset(str(array.dtype) for array in arrays.values())],
        "model": name,
        "num_classes": model.num_classes,
        "fields": changed_fields(name, model),
        "images": model.preprocessing.described(),
        **({"band_suffixes": list(bands)} if bands else {}),
        "class_names": None if class_names is None else list(class_names),
        "palette": None if info is None else [list(map(int, colour)) for colour in info.palette],
        "data": None if info is None else info.name,
        "eval": _saved_eval(eval or {}),
        "tensors": len(arrays),
        "checksums": {path: checksum(array) for path, array in arrays.items()},  # XXH3, 64 bits
        "source": dict(source or {}),
    }
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    try:
        unfinished.mkdir(parents=True)
        save_file(arrays, unfinished / VARIABLES_FILE)
        (unfinished / MODEL_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        # safetensors makes its file readable only for the user
        shutil.copymode(unfinished / MODEL_FILE, unfinished / VARIABLES_FILE)
        unfinished.rename(folder)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{folder} cannot be written: {reason(error)}.",
            "Choose a folder that you can write to.",
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_free(folder: str | os.PathLike) -> None:
    """Raises InputError unless a network's folder can be created at this path."""
    folder = given_path(folder)
    if run_above(folder.absolute().parent) is not None:
        raise InputError(
            f"{folder} is in the checkpoints of a run, where only the run may write.",
            "Choose another folder.",
        )
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise InputError(
            f"{folder} cannot be accessed: {reason(error)}.", "Choose another folder."
        ) from None
    if taken:
        raise InputError(f"{folder} already exists.", "Choose another folder, or remove it first.")


def check_exported(folder: str | os.PathLike) -> None:
    """Raises InputError unless `folder` contains the two files of an exported network."""
    files = [given_path(folder) / name for name in (MODEL_FILE, VARIABLES_FILE)]
    if not all(map(os.path.isfile, files)):
        raise InputError(
            f"{folder} is not a network folder: it has no {MODEL_FILE} or no {VARIABLES_FILE}.",
            "Give a folder written by `python -m jaxseg convert`.",
        )


def read_folder(folder: str | os.PathLike) -> JaxsegFile:
    """Opens the network in a folder of `save_exported`; each variable is read when it is used.

    Raises:
      InputError: there is no such folder, or its two files are damaged or do not match.
    """
    folder = given_path(folder)
    check_exported(folder)
    about = _read_about(folder / MODEL_FILE)
    names = about["class_names"]
    places = read_safetensors(folder / VARIABLES_FILE)
    kinds = frozenset(str(place.dtype) for place in places.values())
    if len(places) != about["tensors"] or _FORMATS.get(kinds) != about["format"]:
        raise InputError(
            f"{folder / VARIABLES_FILE} does not belong to {folder / MODEL_FILE}.",
            "Export the network again.",
        )
    tensors = StoredArrays(folder / VARIABLES_FILE, places)
    _check_values(folder, tensors, about.get("checksums"))
    return JaxsegFile(
        path=folder,
        container="jaxseg",
        tensors=tensors,
        name=about["model"],
        model=about["network"],
        info=None if names is None else _info(about, names),
        source=about["source"],
        eval=about["eval"],
        bands=about["band_suffixes"],
    )


def _check_values(folder: pathlib.Path, tensors: StoredArrays, sums: Any) -> None:
    """Raises InputError if an array does not match its checksum; older folders have none."""
    if sums is None:
        return
    for name, array in tensors.items():
        if not isinstance(sums, dict) or sums.get(name) != checksum(array):
            raise InputError(
                f"{folder / VARIABLES_FILE} is damaged: the checksum of {name} does not match.",
                "Copy the folder again from an undamaged one, or export the network again.",
            )


def unnamed_classes(count: int, names: Sequence[str] | None = None) -> DataInfo:
    """Classes of an unknown data set, in VOC's colours."""
    names = names or [f"class {i}" for i in range(count)]
    return DataInfo("unnamed classes", tuple(names), voc_palette(count))


def _info(about: Mapping[str, Any], names: Sequence[str]) -> DataInfo:
    palette = about.get("palette") or voc_palette(len(names))
    colours = tuple((int(r), int(g), int(b)) for r, g, b in palette)
    return DataInfo(about.get("data") or "unnamed classes", tuple(names), colours)


def _rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """Casts an array to another dtype, unless the dtype's range is too small."""
    with np.errstate(over="ignore"):
        rounded = array.astype(jnp.dtype(dtype))
    fits = np.isfinite(rounded.astype(np.float32)[np.isfinite(array)]).all()
    return rounded if fits else array


def _saved_eval(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `config.eval` that define the protocol and differ from the defaults."""
    plain = default_config().eval
    return {
        name: value
        for name, value in given.items()
        if name not in _LOCAL and value is not None and value != plain[name]
    }


def _read_eval(fields: Mapping[str, Any]) -> ml_collections.ConfigDict | None:
    """The `config.eval` with a folder's fields; None if there are none.

    Raises:
      InputError: a field is unknown, or has an invalid value.
    """
    if not fields:
        return None
    config = default_config()
    for name, value in fields.items():
        set_field(config, f"eval.{name}", value)
    validate(config)
    return config.eval


def changed_fields(name: str, model: nn.Module) -> dict[str, Any]:
    """The fields that differ from the defaults of `create_model`, ready for JSON."""
    plain = create_model(name, model.num_classes)
    if type(plain) is not type(model):
        raise InputError(
            f"'{name}' is a {type(plain).__name__}, but the network is a {type(model).__name__}.",
            "Give the name with which the network was created.",
        )
    changed = {}
    for field in field_names(type(model)):
        value, default = getattr(model, field), getattr(plain, field)
        if field == "dtype":
            value, default = jnp.dtype(value).name, jnp.dtype(default).name
        if value != default:
            changed[field] = value
    return changed


def _read_about(path: pathlib.Path) -> dict[str, Any]:
    """Reads and checks `model.json`; "network" in the result is the network that it describes."""
    damaged = InputError(f"{path} is damaged.", "Export the network again.")
    try:
        check_readable(path)
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, json.JSONDecodeError, RecursionError):
        raise damaged from None
    if not isinstance(about, dict) or type(about.get("format")) is not int:
        raise damaged
    if about["format"] not in _FORMATS.values():
        known = ", ".join(map(str, sorted(set(_FORMATS.values()))))
        raise InputError(
            f"{path} has format {about['format']}, but this version of jaxseg supports only "
            f"{known}.",
            "Use the version of jaxseg that wrote it, or a newer one.",
        )
    kinds = {"model": str, "num_classes": int, "fields": dict, "images": dict, "tensors": int}
    names = about.get("class_names")
    if any(type(about.get(key)) is not kind for key, kind in kinds.items()):
        raise damaged
    if names is not None and (type(names) is not list or {type(n) for n in names} != {str}):
        raise damaged
    if names is not None and len(names) != about["num_classes"]:
        raise damaged
    about.setdefault("source", {})
    if not isinstance(about.get("eval", {}), dict) or not isinstance(about["source"], dict):
        raise damaged
    if about.get("palette") is not None and not _is_palette(about["palette"], names):
        raise damaged
    bands = about.get("band_suffixes", [])
    if type(bands) is not list or any(type(band) is not str for band in bands):
        raise damaged
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in about["fields"].items()}
    try:
        network = create_model(about["model"], about["num_classes"], **fields)
        images = network.preprocessing.described()
        asked = _read_eval(about.get("eval", {}))
    except InputError as error:
        raise InputError(f"{path}: {error.problem}", error.remedy) from None
    except TypeError:
        raise damaged from None
    if json.loads(json.dumps(images)) != about["images"]:
        raise InputError(
            f"{path} records the normalisation {about['images']}, but {about['model']} uses "
            f"{images}.",
            "Use the version of jaxseg that wrote it.",
        )
    return about | {
        "network": network,
        "eval": asked,
        "band_suffixes": tuple(bands),
        "class_names": None if names is None else tuple(names),
    }


def _is_palette(palette: Any, names: Sequence[str] | None) -> bool:
    """Whether `palette` has one colour per class."""
    return (
        names is not None
        and isinstance(palette, list)
        and len(palette) == len(names)
        and all(
            isinstance(c, list) and len(c) == 3 and all(type(v) is int and 0 <= v < 256 for v in c)
            for c in palette
        )
    )
