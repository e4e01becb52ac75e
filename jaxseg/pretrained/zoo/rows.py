"""The registry of published networks: one row per file, read from `networks.jsonl`.

`classes.json` in the same folder has the names and colours of the classes. The URLs come from the
packages themselves; none of them has been tested.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxseg.errors import InputError, nearest
from jaxseg.utils.paths import meant_path

HERE = pathlib.Path(__file__).parent
EMBEDDED = HERE / "embedded"  # a folder of `convert`; if it exists, the default of `predict`

_PERMISSIVE = ("Apache-2.0", "BSD-3-Clause", "MIT", "CC-BY", "unrestricted use")


@dataclasses.dataclass(frozen=True)
class Row:
    """A published file. Its fields are attributes and also keys: `row.url` and `row["url"]`.

    Attributes:
      name: the name for `jaxseg.load`.
      aliases: other names.
      kind: "network" (it labels images) or "backbone" (training can start from it).
      network: a name for `jaxseg.create_model`; for a backbone, one that it fits.
      fields: fields of the network that differ from the defaults of `create_model`.
      data: the data set of its classes; the value of `config.data.name` if jaxseg can read it.
      classes: their names, in the order of the label values; () for a backbone.
      palette: a colour (r, g, b) per class.
      mean_iou: as published by the authors, 0..1; None: not published.
      mean_iou_multi_scale: the same with six scales and mirroring.
      measured_on: images of that figure, if not the validation split of `data`.
      protocol: protocol of that figure: fields of `config.eval`.
      predict: fields of `config.eval` for `predict`; None: those of `protocol`.
      trained_on: the training images.
      crop: (height, width) of the training crops, if known.
      parameters: number of parameters, including the auxiliary head; None for a backbone.
      licence: licence of the authors.
      file: file name in the cache.
      url: download URL; None: the file is part of the package.
      checksum: "sha256:" or "sha1:" and the start of the digest, as published; None: not published.
      size: size in bytes, if known.
      source: publisher.
      reader: the `source` for `load_pretrained`.
    """

    name: str
    kind: str
    network: str
    data: str
    file: str
    url: str | None
    source: str
    reader: str | None
    licence: str | None
    aliases: tuple[str, ...] = ()
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    mean_iou: float | None = None
    mean_iou_multi_scale: float | None = None
    measured_on: str | None = None
    protocol: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    predict: Mapping[str, Any] | None = None
    trained_on: str | None = None
    crop: tuple[int, int] | None = None
    parameters: int | None = None
    checksum: str | None = None
    size: int | None = None

    def __getitem__(self, key: str) -> Any:
        if key in {field.name for field in dataclasses.fields(self)}:
            return getattr(self, key)
        raise KeyError(key)

    def keys(self) -> list[str]:
        """The names of the fields, so that `dict(row)` works."""
        return [field.name for field in dataclasses.fields(self)]

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for a backbone."""
        return len(self.classes)

    @property
    def permissive(self) -> bool:
        """Whether the licence allows any use."""
        return is_permissive(self.licence)


def is_permissive(licence: str | None) -> bool:
    """Whether a licence allows any use; False for an unknown one."""
    return licence in _PERMISSIVE


def list_pretrained(filter: str = "") -> list[Row]:
    """Lists the published networks and backbones for `jaxseg.load` and `config.init.pretrained`.

    Args:
      filter: a part of a name or of a data set, such as "ade20k" or "pspnet_r50"; "": all. An exact
        match comes first.

    Returns:
      Rows with `name`, `url`, `data`, `classes` (names), `mean_iou` (0..1), `licence` and more, as
      attributes and as keys.

    >>> row = list_pretrained("pspnet_r50_ade20k")[0]
    >>> row.name, row["data"], len(row.classes), row.mean_iou
    ('pspnet_r50_ade20k', 'ade20k', 150, 0.4248)
    """
    wanted = filter.lower()
    found = [row for row in rows() if any(wanted in n for n in (row.name, row.data, *row.aliases))]
    return sorted(found, key=lambda row: wanted not in (row.name, *row.aliases))


@functools.cache
def rows() -> tuple[Row, ...]:
    """All rows, in the order of the file; the embedded network first, if there is one."""
    lists = json.loads((HERE / "classes.json").read_text(encoding="utf-8"))
    lines = (HERE / "networks.jsonl").read_text(encoding="utf-8").splitlines()
    found = [_row(json.loads(line), lists) for line in lines]
    own = embedded()
    return tuple(found if own is None else [own, *found])


def embedded() -> Row | None:
    """The network inside the package, if any."""
    path = EMBEDDED / "model.json"
    if not path.is_file():
        return None
    about = json.loads(path.read_text(encoding="utf-8"))
    source = about.get("source") or {}
    return Row(
        name=source.get("name") or "pspnet_camvid_small",
        kind="network",
        network=about["model"],
        fields=_tuples(about["fields"]),
        data=source.get("data_set") or "camvid",
        classes=tuple(about.get("class_names") or ()),
        palette=tuple(tuple(colour) for colour in about.get("palette") or ()),
        mean_iou=(source.get("metrics") or {}).get("mean_iou"),
        measured_on=source.get("measured_on"),
        protocol=_tuples(about.get("eval") or {}),
        trained_on=source.get("trained_on"),
        parameters=source.get("parameters"),
        licence=source.get("licence") or "Apache-2.0",
        file=str(EMBEDDED),
        url=None,
        size=sum(file.stat().st_size for file in EMBEDDED.iterdir()),
        source="jaxseg",
        reader=None,
    )


def find(name: str) -> Row | None:
    """The row with that name or alias; None if there is none."""
    return _by_name().get(str(name))


def unknown(name: object) -> InputError:
    """The error for a text that is neither a path nor a known name.

    >>> unknown("PSPNet_R50_Cityscape").remedy[:36]
    "Did you mean 'pspnet_r50_cityscapes'"
    >>> unknown("camvid").remedy[:55]
    '`python -m jaxseg models --data camvid` lists the names'
    """
    wanted = str(name).lower()
    meant = meant_path(pathlib.Path(name)) if isinstance(name, str) else None
    if meant is not None:
        return InputError(f"There is no network {name}.", f"Did you mean {meant}?")
    close = nearest(wanted, _by_name())
    if close.startswith("Choose"):  # a list of all names would not help
        data = f" --data {wanted}" if any(wanted == row.data for row in rows()) else ""
        close = f"`python -m jaxseg models{data}` lists the names"
        close += (
            ". Otherwise give the workdir of a run, a folder written by `python -m jaxseg "
            "convert`, or a file."
        )
    from jaxseg.models import list_models  # imports jax, which takes a second

    if name in list_models():
        return InputError(
            f"{name} is a network without trained parameters.",
            "Give one listed by `python -m jaxseg models`, or create an untrained network: "
            f"jaxseg.create_model({name!r}, num_classes=21).",
        )
    return InputError(
        f"There is no network '{name}': it is neither a path nor a known name.", close
    )


@functools.cache
def _by_name() -> dict[str, Row]:
    return {name: row for row in rows() for name in (row.name, *row.aliases)}


def _row(values: dict[str, Any], lists: Mapping[str, Any]) -> Row:
    key = values.pop("class_list", None)
    if key is not None:
        values["classes"] = lists[key]["classes"]
        values["palette"] = [tuple(colour) for colour in lists[key]["palette"]]
    return Row(**_tuples(values))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts JSON's lists to tuples, the types of the fields."""
    return {key: _tuple(value) for key, value in values.items()}


def _tuple(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _tuples(value)
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
