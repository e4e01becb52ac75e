"""Reads `.caffemodel` files without Caffe, by the protobuf wire format.

A `.caffemodel` is one `NetParameter` message. It contains layers, a layer contains blobs, and a
blob contains its shape and values. A field is a varint key (field number, wire type), followed by
data in the form of its wire type. Only fields on the path to the blobs are read. The values stay in
the file.
"""

import math
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxseg.errors import InputError
from jaxseg.pretrained.formats.stored import FileBytes, Stored, contiguous, unfit

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

_NET_LAYERS, _NET_LAYER = 2, 100  # fields of NetParameter: layers in the V1 and the V2 format
_V0_LAYER = 1  # field of V1LayerParameter with a layer in the format of 2013
_BLOB_OLD_SHAPE = (1, 2, 3, 4)  # num, channels, height, width
_BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLES = 5, 7, 8
_SHAPE_DIM = 1

# No network comes near these limits (a ResNet-152 has about 10,000 relevant fields). Without them,
# a damaged file could create millions of tiny objects.
_MAX_FIELDS, _MAX_NAME, _MAX_AXES = 100_000, 1_000, 32


def read_caffe(path: pathlib.Path) -> tuple[dict[str, Stored], dict[str, str | int]]:
    """Locates the blobs of a `.caffemodel`, and lists the types of its layers.

    No value is read. Memory and time are bounded for any file.

    Args:
      path: a non-empty file in the V1 (`layers`) or V2 (`layer`) format.

    Returns:
      The blobs by name, "LAYER/INDEX", in the file's order, with its shapes, in float32 or float64;
      and the type of each layer: a string in V2, a number in V1. If several layers have the same
      name, the one with blobs is used, otherwise the first.

    Raises:
      InputError: the file is not a `.caffemodel`, is truncated, or is inconsistent.
    """
    try:
        return _Reader(FileBytes(path)).network()
    except _Damaged as error:
        raise InputError(
            f"{path} is not a complete .caffemodel: {error}.",
            "Download it again, and compare its checksum with the published one. jaxseg also "
            "reads PyTorch's .pth and .safetensors files.",
        ) from None
    except _Outdated:
        raise InputError(
            f"{path} has layers in Caffe's format of 2013 (V0).",
            "Convert it with Caffe's upgrade_net_proto_binary.",
        ) from None


class _Damaged(Exception):
    """The file violates the format; the message has no full stop."""


class _Outdated(Exception):
    """A layer of the V0 format."""


class _Field(NamedTuple):
    """One field of a message, or a run of `repeats` fixed-width fields with the same key.

    `value` is the value of a varint. The bytes of any other field are `start` to `stop`; in a run,
    those of the first field, and `step` is the distance in bytes to the next one.
    """

    number: int
    wire: int
    value: int
    start: int
    stop: int
    repeats: int = 1
    step: int = 0


class _Layer(NamedTuple):
    """The field numbers of a layer's message."""

    name: int
    type: int
    blobs: int


_LAYERS = {_NET_LAYERS: _Layer(name=4, type=5, blobs=6), _NET_LAYER: _Layer(1, 2, 7)}


class _Reader:
    """Parses the fields of one file."""

    def __init__(self, data: FileBytes):
        self._data = data
        self._fields = 0

    def network(self) -> tuple[dict[str, Stored], dict[str, str | int]]:
        places: dict[str, Stored] = {}
        types: dict[str, str | int] = {}
        for field in self._message(0, len(self._data), "the network"):
            if field.number not in _LAYERS:
                continue
            name, kind, blobs = self._layer(field)
            if blobs and f"{name}/0" in places:
                raise _Damaged(f"two layers with blobs are named {name!r}")
            if blobs or name not in types:
                types[name] = kind
            places |= {f"{name}/{i}": blob for i, blob in enumerate(blobs)}
        if not places:
            raise _Damaged("it contains no layer with blobs")
        return places, types

    def _layer(self, field: _Field) -> tuple[str, str | int, list[Stored]]:
        """The name, type and blobs of a layer."""
        self._expect(field, _BYTES, "a layer")
        numbers = _LAYERS[field.number]
        name, blobs = "", []
        kind: str | int = ""
        for part in self._message(field.start, field.stop, "a layer"):
            if part.number == numbers.name:
                name = self._text(part, "the name of a layer")
            elif part.number == numbers.type and field.number == _NET_LAYER:
                kind = self._text(part, f"the type of layer {name!r}")
            elif part.number == numbers.type:
                kind = self._expect(part, _VARINT, f"the type of layer {name!r}").value
            elif part.number == numbers.blobs:
                blobs.append(self._expect(part, _BYTES, f"a blob of layer {name!r}"))
            elif part.number == _V0_LAYER and field.number == _NET_LAYERS:
                raise _Outdated
        if blobs and not name:
            raise _Damaged("a layer with blobs has no name")
        return name, kind, [self._blob(b, f"{name}/{i}") for i, b in enumerate(blobs)]

    def _blob(self, field: _Field, name: str) -> Stored:
        """The shape and location of a blob's values."""
        old: dict[int, int] = {}
        shape: list[int] = []
        values: dict[int, _Field] = {}
        for part in self._message(field.start, field.stop, f"blob {name}"):
            if part.number in _BLOB_OLD_SHAPE:
                what = f"the shape of blob {name}"
                old[part.number] = _signed(self._expect(part, _VARINT, what).value)
            elif part.number == _BLOB_SHAPE:
                shape += self._shape(part, name)
            elif part.number in (_BLOB_DATA, _BLOB_DOUBLES):
                if part.number in values:
                    raise _Damaged(f"the values of blob {name} are in several pieces")
                values[part.number] = part
        if old:  # as in Caffe: the old fields take precedence, and missing ones are 0
            shape = [old.get(number, 0) for number in _BLOB_OLD_SHAPE]
        double = _BLOB_DOUBLES in values
        dtype = np.dtype("<f8" if double else "<f4")
        count, offset, step = 0, 0, 0
        if values:
            part = values[_BLOB_DOUBLES if double else _BLOB_DATA]
            count, offset, step = self._values(part, dtype.itemsize, name)
        if len(shape) > _MAX_AXES or any(n < 1 for n in shape) or math.prod(shape) != count:
            raise _Damaged(f"blob {name} declares the shape {_short(shape)} but contains {count:,}")
        why = unfit(tuple(shape), dtype)
        if why:
            raise _Damaged(f"blob {name} {why}")
        return Stored(offset, dtype, tuple(shape), contiguous(tuple(shape), step))

    def _shape(self, field: _Field, name: str) -> list[int]:
        """The dimensions in a BlobShape message, as single fields or packed."""
        what = f"the shape of blob {name}"
        self._expect(field, _BYTES, what)
        shape = []
        for part in self._message(field.start, field.stop, what):
            if part.number != _SHAPE_DIM:
                continue
            if part.wire == _VARINT:
                shape.append(_signed(part.value))
                continue
            at = self._expect(part, _BYTES, what).start
            while at < part.stop and len(shape) <= _MAX_AXES:
                n, at = self._varint(at, part.stop, what)
                shape.append(_signed(n))
        return shape

    def _values(self, field: _Field, size: int, name: str) -> tuple[int, int, int]:
        """The number of values of `size` bytes, the position of the first, and their distance."""
        if field.wire == _BYTES:
            count, rest = divmod(field.stop - field.start, size)
            if rest:
                raise _Damaged(
                    f"the values of blob {name} are not a whole number of float{8 * size}"
                )
            return count, field.start, size
        self._expect(field, _FIXED32 if size == 4 else _FIXED64, f"a value of blob {name}")
        return field.repeats, field.start, field.step

    # ---- the wire format

    def _message(self, start: int, stop: int, what: str) -> Iterator[_Field]:
        """Yields the fields of the message from `start` to `stop`."""
        at = start
        while at < stop:
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise _Damaged(f"it has more than {_MAX_FIELDS:,} fields")
            first = at
            key, at = self._varint(at, stop, what)
            number, wire = key >> 3, key & 7
            value, size, repeats, step = 0, 0, 1, 0
            if wire == _VARINT:
                value, at = self._varint(at, stop, what)
            elif wire == _BYTES:
                size, at = self._varint(at, stop, what)
            elif wire in (_FIXED32, _FIXED64):
                size = 4 if wire == _FIXED32 else 8
                step = at + size - first
                repeats = self._run(first, stop, step) if at == first + 1 else 1
            else:
                raise _Damaged(f"{what} has a field of wire type {wire} at byte {first:,}")
            end = first + repeats * step if step else at + size
            if number == 0:
                raise _Damaged(f"{what} has a field of number 0 at byte {first:,}")
            if end > stop:
                raise _Damaged(self._overrun(what, stop, f"a field reaches to byte {end:,}"))
            yield _Field(number, wire, value, at, at + size, repeats, step)
            at = end

    def _run(self, first: int, stop: int, step: int) -> int:
        """The number of consecutive fields of `step` bytes that have the key of the first.

        Many are compared at a time, because a blob may have millions of unpacked values; the number
        doubles, so that few bytes beyond the last field are read.
        """
        key, count = self._data[first], 1
        most = (stop - first) // step
        while count < most:
            n = min(most - count, count, 1 << 20)
            start = first + count * step
            keys = np.frombuffer(self._data.stretch(start, start + n * step), np.uint8)[::step]
            different = np.flatnonzero(keys != key)
            if different.size:
                return count + int(different[0])
            count += n
        return count

    def _varint(self, at: int, stop: int, what: str) -> tuple[int, int]:
        """An unsigned varint of up to 64 bits, and the position after it."""
        value = 0
        for i in range(10):
            if at + i >= stop:
                raise _Damaged(self._overrun(what, stop, "a number continues"))
            byte = self._data[at + i]
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                return value & (2**64 - 1), at + i + 1
        raise _Damaged(f"{what} has a number of more than 64 bits at byte {at:,}")

    def _overrun(self, what: str, stop: int, then: str) -> str:
        if stop == len(self._data):
            return f"it ends at byte {stop:,}, where {then}"
        return f"{what} ends at byte {stop:,}, where {then}"

    def _expect(self, field: _Field, wire: int, what: str) -> _Field:
        if field.wire != wire:
            raise _Damaged(f"{what} has wire type {field.wire}, not {wire}")
        return field

    def _text(self, field: _Field, what: str) -> str:
        self._expect(field, _BYTES, what)
        if field.stop - field.start > _MAX_NAME:
            raise _Damaged(f"{what} has {field.stop - field.start:,} bytes")
        try:
            return self._data[field.start : field.stop].decode()
        except UnicodeDecodeError:
            raise _Damaged(f"{what} is not text") from None


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _short(shape: list[int]) -> str:
    return f"({', '.join(map(str, shape[:8]))}{', ...' if len(shape) > 8 else ''})"
