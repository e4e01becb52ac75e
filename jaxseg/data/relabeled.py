"""Renumbers the classes of a data set in the order of a network."""

import numpy as np

from jaxseg.data.source import DataInfo, Example, Source, kind_of
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import ImageKind


def numbered_as(source: Source, info: DataInfo) -> Source:
    """The data set with the classes in the order of a network.

    For example, mmsegmentation sorts PASCAL-Context's classes alphabetically, but the authors' own
    list begins with VOC's. Names that differ only in case and spaces are equal.

    Raises:
      InputError: the data set has other classes.
    """
    ours = [_plain(name) for name in source.info.class_names]
    theirs = [_plain(name) for name in info.class_names]
    if ours == theirs or _unnamed(info):
        if len(ours) == len(theirs):
            return source
    if sorted(ours) == sorted(theirs):
        return Relabeled(source, info, [theirs.index(name) for name in ours])
    missing = [n for n, p in zip(info.class_names, theirs, strict=True) if p not in ours]
    lacks = f"missing are {', '.join(missing[:5])}" if missing else "it has more"
    raise InputError(
        f"The data set '{source.info.name}' has {len(ours)} classes, but the network has "
        f"{len(theirs)} other ones: {lacks}.",
        "Set config.data.name and config.data.root to the data set that the network was trained "
        "on. In your own folder, use the class names of the network.",
    )


class Relabeled:
    """A data set in which label i becomes `order[i]`.

    Args:
      source: the data set.
      info: the network's classes.
      order: the network's number for each class of the data set.
    """

    def __init__(self, source: Source, info: DataInfo, order: list[int]):
        self._source, self._info, self._order = source, info, list(order)
        ignore = source.info.ignore_label
        self._table = np.full(256, ignore, np.uint8)
        self._table[: len(order)] = order

    def __reduce__(self):
        return type(self), (self._source, self._info, self._order)

    @property
    def info(self) -> DataInfo:
        own = self._source.info
        names, palette = self._info.class_names, self._info.palette
        return DataInfo(own.name, names, palette, own.ignore_label, own.splits)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        example = self._source[index]
        return example._replace(label=self._table[example.label])

    @property
    def kind(self) -> ImageKind:
        return kind_of(self._source)

    def name(self, index: int) -> str:
        return self._source.name(index)

    def size(self, index: int) -> tuple[int, int]:
        return self._source.size(index)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _unnamed(info: DataInfo) -> bool:
    return all(name == f"class {i}" for i, name in enumerate(info.class_names))
