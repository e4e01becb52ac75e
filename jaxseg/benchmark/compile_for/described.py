"""A data set that consists only of shapes, for compilation without data."""

from typing import NoReturn

import ml_collections

from jaxseg.data import DataInfo, Example, open_data
from jaxseg.data.colours import distinct_colours
from jaxseg.data.datasets import ade20k, camvid, cityscapes, voc2012
from jaxseg.errors import InputError

Size = tuple[int, int]
_PUBLISHED = {  # number of classes of the published data sets
    **{i.INFO.name: i.INFO.num_classes for i in (ade20k, camvid, cityscapes, voc2012)},
    "pascal_context59": 59,
    "pascal_context60": 60,
}


class Described:
    """A source with an image size and a number of classes, but without images.

    Args:
      classes: number of classes.
      size: (height, width) of its images.
    """

    def __init__(self, classes: int, size: Size):
        names = tuple(f"class {i}" for i in range(classes))
        self.info = DataInfo("shapes alone", names, tuple(distinct_colours(classes)))
        self._size = size

    def __len__(self) -> int:
        return 1

    def size(self, index: int) -> Size:
        """(height, width) of every image."""
        return self._size

    def name(self, index: int) -> str:
        """The name of every image."""
        return "shape"

    def __getitem__(self, index: int) -> Example:
        return self._none()

    def _none(self) -> NoReturn:
        raise InputError(
            "--compile-for does not open the data set, but a field of the config needs its images.",
            "Use a config without such a field.",
        )


def described(config: ml_collections.ConfigDict, size: Size | None = None) -> Described:
    """The data set of a run's config, as its number of classes and image size.

    Args:
      config: config of a run.
      size: size of whole images, if the config does not define it.

    Raises:
      InputError: neither the config nor the data set defines the classes or the size.
    """
    return Described(_classes(config), size or _image_size(config))


def _classes(config: ml_collections.ConfigDict) -> int:
    classes = config.model.num_classes or _PUBLISHED.get(config.data.name)
    if classes is not None:
        return classes
    try:
        return open_data(config.data, "train", config.seed).info.num_classes
    except InputError as error:
        raise InputError(
            f"The number of classes is unknown: {error.problem}",
            "Add --config.model.num_classes=N.",
        ) from None


def _image_size(config: ml_collections.ConfigDict) -> Size:
    for size in (config.augment.crop, config.augment.resize, config.eval.input_size):
        if size is not None:
            return tuple(size)
    if config.data.name == "scenes":
        return tuple(config.data.scenes_size)
    raise InputError(
        "The image size is unknown, because the config trains on whole images.",
        "Add --size HEIGHTxWIDTH, such as --size 500x500, or set config.augment.crop.",
    )
