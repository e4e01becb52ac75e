"""Converts a file of published weights to a network's folder."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jaxseg.config import load_config
from jaxseg.errors import InputError
from jaxseg.models import create_model
from jaxseg.ops.checks import check_whole
from jaxseg.pretrained.folder import JaxsegFile, check_free, save_exported
from jaxseg.pretrained.load import load, suggest
from jaxseg.pretrained.read import read_weights
from jaxseg.pretrained.report import ImportReport
from jaxseg.pretrained.run import saved_metrics
from jaxseg.pretrained.zoo.names import located


def export(
    path: str | os.PathLike,
    folder: str | os.PathLike,
    name: str | None = None,
    *,
    num_classes: int | None = None,
    source: str | None = None,
    head: str = "keep",
    fields: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> tuple[str, nn.Module, ImportReport]:
    """Fills a network from a file and writes its folder; `load_exported` reads the folder.

    Args:
      path: as in `load_pretrained`.
      folder: folder to write; it must be empty or not exist.
      name: name of the network for `create_model`; None: the one that the file is for.
      num_classes: None: that of the file.
      source: as in `load_pretrained`.
      head: as in `load_pretrained`.
      fields: fields of the network in addition to those that the file requires.
      dtype: dtype of the values, as in `save_exported`.

    Returns:
      The network's name, the network, and the report on every tensor.

    Raises:
      InputError: as `load_pretrained` and `save_exported`, or the number of classes is unknown.
    """
    if num_classes is not None:
        check_whole(num_classes, "num_classes", 2)
    check_free(folder)
    path = located(path)
    file = read_weights(path)
    fit = suggest(file, name, source)
    classes = fit.num_classes if num_classes is None else num_classes
    if classes is None:
        raise InputError(
            f"{path} has no logits layer for {fit.model}, so the number of classes is unknown.",
            "Give num_classes=N, or --classes N on the command line.",
        )
    model = create_model(fit.model, classes, **{**fit.needed(), **(fields or {})})
    variables, report = load(model, file, source, head)
    info = eval = None
    bands: tuple[str, ...] = ()
    origin: dict[str, Any] = {}
    if isinstance(file, JaxsegFile) and file.info is not None and head == "keep":
        info = file.info if file.info.num_classes == classes else None
        if file.run is not None:
            origin["data_set"] = load_config(file.run.config).data.name
            origin["metrics"] = saved_metrics(file.run, file.step)
        origin |= {k: v for k, v in file.source.items() if k not in ("sha256", "head", "notes")}
        eval, bands = file.eval, file.bands
    origin |= {
        "file": path.name,
        "sha256": None if path.is_dir() else _sha256(path),
        "what": report.title,
        "head": head,
        "notes": list(report.notes),
        "licence": report.licence or origin.get("licence"),
    }
    save_exported(
        folder,
        fit.model,
        model,
        variables,
        info=info,
        eval=eval,
        source=origin,
        dtype=dtype,
        bands=bands,
    )
    return fit.model, model, report


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
