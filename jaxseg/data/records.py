"""Data sets in ArrayRecord files: a split in one file, quick to read on slow or remote disks.

A record is the photo's own file, untouched, and the mask as a grey PNG of classes. `records.json`
names the splits that are complete; nothing else is ever taken for a data set.
"""

import io
import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from jaxseg.data.decode import read_image, read_mask, read_size
from jaxseg.data.listing import Pairs
from jaxseg.data.source import DataInfo, Example
from jaxseg.errors import InputError, nearest

INDEX = "records.json"
_HEAD = struct.Struct("<III")  # lengths of name, photo and mask


def write_records(
    source: Pairs,
    folder: Path,
    split: str,
    progress: Callable[[Iterable], Iterable] = lambda items: items,
) -> bool:
    """Writes `source` as the split `split` of `folder`; every photo and mask is read and checked.

    Returns:
      False where the split was complete already, and nothing was done.

    Raises:
      InputError: a file of the source is bad, or `folder` cannot be written to.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    index = _read_index(folder) if (folder / INDEX).exists() else {"splits": {}}
    if index["splits"].get(split) == len(source):
        return False
    path = _file(folder, split)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = ArrayRecordWriter(str(unfinished), "group_size:1")
        try:
            for i in progress(range(len(source))):
                writer.write(_pack(source, i))
        finally:
            writer.close()
        if len(_reader(unfinished)) != len(source):
            raise OSError("not all of it could be written")
        unfinished.replace(path)
        info = source.info
        index |= {"name": info.name, "class_names": info.class_names, "palette": info.palette,
                  "published_splits": dict(info.splits)}  # fmt: skip
        index["splits"][split] = len(source)
        temporary = folder / (INDEX + ".unfinished")
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        temporary.replace(folder / INDEX)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be written ({error}).",
            "Make room there, or choose another --data-dir; what is complete is kept.",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return True


class Records:
    """A split that `write_records` wrote.

    Raises:
      InputError: the folder has no such split, or its file is not whole.
    """

    def __init__(self, folder: str | Path, split: str):
        self._folder, self._split = Path(folder).expanduser(), split
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
        except Exception as error:  # whatever a damaged file makes of the reader
            raise self._damaged(str(error)) from error
        if found != index["splits"][split]:
            raise self._damaged(f"it holds {found} of {index['splits'][split]} records")

    def __reduce__(self):  # a worker process opens the file anew
        return type(self), (self._folder, self._split)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Example:
        name, photo, mask = self._record(index)
        image = read_image(f"{self._path}, {name}", photo)
        label = read_mask(f"{self._path}, mask of {name}", self.info.num_classes, data=mask)
        if image.shape[:2] != label.shape:
            raise self._damaged(f"photo and mask of {name} differ in size")
        return Example(image, label, name)

    def name(self, index: int) -> str:
        return self._record(index)[0]

    def size(self, index: int) -> tuple[int, int]:
        name, photo, _ = self._record(index)
        return read_size(f"{self._path}, {name}", photo)

    def _record(self, index: int) -> tuple[str, bytes, bytes]:
        try:
            record = self._reader[index]
            lengths = _HEAD.unpack_from(record)
            name, photo, mask = (
                record[_HEAD.size + sum(lengths[:k]) : _HEAD.size + sum(lengths[: k + 1])]
                for k in range(3)
            )
            return name.decode("utf-8"), photo, mask
        except (RuntimeError, ValueError, struct.error) as error:
            raise self._damaged(f"record {index}: {error}") from error

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"{self._path} is damaged ({reason.rstrip('.')}).",
            f"Remove {self._folder / INDEX} and prepare the data set again.",
        )


def _pack(source: Pairs, index: int) -> bytes:
    label, photo = source[index].label, source.pairs[index].photo.read_bytes()
    mask = io.BytesIO()
    Image.fromarray(np.asarray(label)).save(mask, "PNG", compress_level=9)
    name, png = source.name(index).encode("utf-8"), mask.getvalue()
    return _HEAD.pack(len(name), len(photo), len(png)) + name + photo + png


def _reader(path: Path):
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource(str(path))


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}.array_record"


def _read_index(folder: Path) -> dict:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        assert isinstance(index["splits"], dict)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(
            f"{folder / INDEX} cannot be read ({error}).", "Prepare the data set again."
        ) from error
    return index
