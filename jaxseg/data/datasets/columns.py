"""Examples whose photo and mask are stored as bytes in two columns of a library's table."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from jaxseg.data.decode import read_size
from jaxseg.data.images import decode_image
from jaxseg.data.masks import decode_mask
from jaxseg.data.pairs import laid_on
from jaxseg.data.source import DataInfo, Example
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import RGB, ImageKind


class Columns:
    """A source over the records of a library; their bytes are decoded like files.

    Args:
      arguments: constructor arguments, with which a worker process opens the files again.
      records: the records by index; `content` returns the bytes of one.
      name, split: used in the names of examples.
      keys: columns of the image and the mask.
      info: the classes.
      values: as in `read_mask`.
      kind: kind of the photos.
    """

    exif: str
    """As `config.data.exif`: how a mask relates to a photo with an EXIF orientation."""
    remedy: str
    """The fix if a photo and its mask differ in size."""

    def __init__(
        self,
        arguments: tuple,
        records: Any,
        name: str,
        split: str,
        keys: tuple[str, str],
        info: DataInfo,
        values: Mapping[int, int] | None,
        kind: ImageKind = RGB,
    ):
        self._arguments, self._data = arguments, records
        self._name, self._split, self._keys = name, split, keys
        self.info, self._values, self.kind = info, values, kind

    @abstractmethod
    def content(self, record: Any, key: str, file: str) -> bytes:
        """The bytes in a column of a record; `file` is its name for messages."""

    def __reduce__(self):
        return type(self), self._arguments

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Example:
        name, record = self.name(index), self._data[index]
        photo, mask = (f"{name}, {key}" for key in self._keys)
        picture = decode_image(photo, self.content(record, self._keys[0], photo), self.kind)
        stored = decode_mask(mask, self.content(record, self._keys[1], mask))
        classes = self.info.num_classes
        label = laid_on(picture, stored, photo, mask, classes, self._values, exif=self.exif)
        if picture.pixels.shape[:2] != label.shape:
            raise InputError(
                f"The image of {name} has the shape {picture.pixels.shape[:2]}, its mask "
                f"{label.shape}.",
                self.remedy,
            )
        return Example(picture.pixels, label, name)

    def name(self, index: int) -> str:
        return f"{self._name} {self._split} {index}"

    def photo_bytes(self, index: int) -> bytes:
        """The stored bytes of the photo."""
        key = self._keys[0]
        return self.content(self._data[index], key, f"{self.name(index)}, {key}")

    def size(self, index: int) -> tuple[int, int]:
        key = self._keys[0]
        file = f"{self.name(index)}, {key}"
        return read_size(file, self.content(self._data[index], key, file))
