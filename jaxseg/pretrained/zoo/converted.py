"""Converts the network of a registry row to a folder in jaxseg's format, once."""

import pathlib
import shutil
from typing import Any

from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError
from jaxseg.pretrained.fill import fill, fitting
from jaxseg.pretrained.folder import MODEL_FILE, save_exported
from jaxseg.pretrained.tensor_file import read_tensors
from jaxseg.pretrained.zoo.cache import ANOTHER_CACHE, converted_folder, locked
from jaxseg.pretrained.zoo.files import cached_file, fetch, unreadable
from jaxseg.pretrained.zoo.rows import Row

_VERSION = 1  # of the output; a new number makes cached folders convert again


def is_cached(row: Row) -> bool:
    """Whether the row can be used without network access."""
    return row.url is None or _has(_folder(row)) or cached_file(row) is not None


def weights_of(row: Row) -> pathlib.Path:
    """The path that `read_weights` reads for a row: a network's folder, or a backbone's file.

    Raises:
      InputError: as `fetch`; or the file's number of classes is not that of the row.
    """
    if row.url is None:
        return pathlib.Path(row.file)
    if row.kind == "backbone":
        return fetch(row)
    folder = _folder(row)
    if _has(folder):
        return folder
    file = fetch(row)
    with locked(folder.parent, folder.name):
        if not _has(folder):
            for left in folder.parent.glob(f".{folder.name}.*.unfinished"):  # of a killed process
                shutil.rmtree(left, ignore_errors=True)
            convert(row, file, folder)
    return folder


def convert(row: Row, file: pathlib.Path, folder: pathlib.Path) -> None:
    """Converts the file of a row to a network's folder."""
    try:
        model, variables, title = _filled(row, file)
    except InputError as error:
        raise (error if row.checksum else unreadable(row, error)) from None
    try:
        _save(row, folder, model, variables, title)
    except InputError as error:  # a full disk
        raise InputError(error.problem, ANOTHER_CACHE) from None


def _filled(row: Row, file: pathlib.Path) -> tuple[Any, dict[str, Any], str]:
    """The row's network, its variables, and the title of the report on the file."""
    opened = read_tensors(file)
    fit = fitting(opened, None if row.reader is None else row.network, row.reader)
    if fit.num_classes != row.num_classes:
        raise InputError(
            f"{file} has {fit.num_classes} classes, but {row.name} has {row.num_classes}.",
            f"Remove it, or download {row.url} again.",
        )
    model = fit.create(**{name: v for name, v in row.fields.items() if name not in fit.fields})
    variables, report = fill(model, opened, row.reader)
    return model, variables, report.title


def _save(row: Row, folder: pathlib.Path, model: Any, variables: dict[str, Any], title: str):
    save_exported(
        folder,
        row.network,
        model,
        variables,
        info=DataInfo(row.data, row.classes, row.palette),
        eval=row.protocol if row.predict is None else row.predict,
        source={
            "file": row.file,
            "url": row.url,
            "name": row.name,
            "what": title,
            "notes": [],
            "licence": row.licence,
            "data_set": row.data,
            "trained_on": row.trained_on,
            "metrics": None if row.mean_iou is None else {"mean_iou": row.mean_iou},
        },
    )


def _folder(row: Row) -> pathlib.Path:
    checksum = (row.checksum or "").partition(":")[2][:8]
    return converted_folder() / "-".join(filter(None, [row.name, checksum, f"v{_VERSION}"]))


def _has(folder: pathlib.Path) -> bool:
    return (folder / MODEL_FILE).is_file()  # the folder is written atomically
