"""Data sets in ArrayRecord files: one file per split, fast to read on slow or remote disks.

A record has the unchanged file of the photo, and the mask as a grey PNG of classes. `records.json`
has the names and sizes of the complete splits; other splits are ignored.
"""

import io
import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from jaxseg.data.datasets.columns import Columns
from jaxseg.data.decode import read_size
from jaxseg.data.images import decode_image
from jaxseg.data.listing import Pairs
from jaxseg.data.masks import read_mask
from jaxseg.data.source import DataInfo, Example
from jaxseg.data.upright import turned
from jaxseg.errors import InputError, nearest
from jaxseg.utils.access import reason, remedy_for
from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.image_kind import RGB, ImageKind
from jaxseg.utils.json_files import read_object
from jaxseg.utils.paths import given_path

INDEX = "records.json"
_HEAD = struct.Struct("<II")  # lengths of photo and mask in bytes


def write_records(
    source: Pairs | Columns,
    folder: Path,
    split: str,
    progress: Callable[[Iterable], Iterable] = lambda items: items,
) -> bool:
    """Writes `source` as the split `split` of `folder`; reads and checks every photo and mask.

    Returns:
      False if the split is already complete; it is not changed.

    Raises:
      InputError: a file of the source is bad, or `folder` cannot be written.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    index = _read_index(folder) if (folder / INDEX).exists() else {"splits": {}}
    if [entry[0] for entry in index["splits"].get(split, ())] == [
        source.name(i) for i in range(len(source))
    ]:
        return False
    path = _file(folder, split)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = ArrayRecordWriter(str(unfinished), "group_size:1")
        try:
            entries = []
            for i in progress(range(len(source))):
                name, label = source.name(i), source[i].label
                writer.write(_pack(source.photo_bytes(i), label))
                entries.append([name, *label.shape])
        finally:
            writer.close()
        if len(_reader(unfinished)) != len(source):
            raise OSError("it could not be written completely")
        unfinished.replace(path)
        info = source.info
        index |= {"name": info.name, "class_names": info.class_names, "palette": info.palette,
                  "published_splits": dict(info.splits)}  # fmt: skip
        index["splits"][split] = entries
        index["upright"] = sorted({*index.get("upright", ()), split})
        write_atomic(folder / INDEX, json.dumps(index) + "\n")
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be written ({reason(error)}).",
            "Free some space there, or choose another --data-dir; finished files are kept.",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return True


class Records:
    """A split written by `write_records`; `kind` is the kind of its photos.

    Raises:
      InputError: the folder has no such split, or its file is incomplete.
    """

    def __init__(self, folder: str | Path, split: str, kind: ImageKind = RGB):
        self._folder, self._split, self.kind = given_path(folder), split, kind
        index = _read_index(self._folder)
        if split not in index["splits"]:
            raise InputError(
                f"{self._folder / INDEX} has no split '{split}'.", nearest(split, index["splits"])
            )
        palette = tuple((int(r), int(g), int(b)) for r, g, b in index["palette"])
        self.info = DataInfo(index["name"], tuple(index["class_names"]), palette,
                             splits=index["published_splits"])  # fmt: skip
        self._path = _file(self._folder, split)
        try:
            self._reader = _reader(self._path)
            found = len(self._reader)
        except Exception as error:  # a damaged file can cause any type in the reader
            raise self._damaged(str(error)) from error
        self._entries = index["splits"][split]
        self._upright = split in index.get("upright", ())  # older records: as stored in the files
        if found != len(self._entries):
            raise self._damaged(f"it contains {found} of {len(self._entries)} records")

    def __reduce__(self):  # a worker process opens the file again
        return type(self), (self._folder, self._split, self.kind)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Example:
        name, (photo, mask) = self.name(index), self._record(index)
        picture = decode_image(f"{self._path}, {name}{self._suffix(photo)}", photo, self.kind)
        image = picture.pixels
        label = read_mask(f"{self._path}, mask of {name}", self.info.num_classes, data=mask)
        if not self._upright:
            label = turned(label, picture.orientation)
        if image.shape[:2] != label.shape:
            raise self._damaged(f"image and mask of {name} differ in size")
        return Example(image, label, name)

    def name(self, index: int) -> str:
        return self._entries[index][0]

    def size(self, index: int) -> tuple[int, int]:
        _, height, width = self._entries[index]
        if self._upright:
            return height, width
        return read_size(self.name(index), self._record(index)[0])

    @staticmethod
    def _suffix(photo: bytes) -> str:
        """The suffix of an array's name, by which `decode_image` detects arrays."""
        return ".npy" if photo.startswith(b"\x93NUMPY") else ""

    def _record(self, index: int) -> tuple[bytes, bytes]:
        try:
            record = self._reader[index]
            photo, mask = _HEAD.unpack_from(record)
            begin, middle = _HEAD.size, _HEAD.size + photo
            if middle + mask != len(record):
                raise ValueError("its parts do not have their declared lengths")
            return record[begin:middle], record[middle:]
        except (RuntimeError, ValueError, struct.error) as error:
            raise self._damaged(f"record {index}: {error}") from error

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"{self._path} is damaged ({reason.rstrip('.')}).",
            f"Remove {self._folder / INDEX} and prepare the data set again.",
        )


def _pack(content: bytes, label: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(label).save(file, "PNG", compress_level=9)
    mask = file.getvalue()
    return _HEAD.pack(len(content), len(mask)) + content + mask


def _reader(path: Path):
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource(str(path))


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}.array_record"


def _read_index(folder: Path) -> dict:
    try:
        index = read_object(folder / INDEX)
        assert isinstance(index["splits"], dict)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(
            f"{folder / INDEX} cannot be read ({reason(error)}).",
            remedy_for(error, "Prepare the data set again."),
        ) from error
    return index
