"""Writes `.caffemodel` files, byte by byte, in each of the formats that Caffe has used."""

import numpy as np

# V1LayerParameter.LayerType, of Caffe and (from 39 on) of the fork used to train DeconvNet.
V1_TYPES = {
    "Concat": 3,
    "Convolution": 4,
    "Data": 5,
    "Dropout": 6,
    "InnerProduct": 14,
    "LRN": 15,
    "Pooling": 17,
    "ReLU": 18,
    "Softmax": 20,
    "SoftmaxWithLoss": 21,
    "Eltwise": 25,
    "Deconvolution": 39,
    "Crop": 40,
    "Unpooling": 42,
    "BN": 43,
}


def write_caffemodel(path, layers, version="v2", legacy_shapes=None, packed=True):
    """Writes a network.

    Args:
      path: the file to write.
      layers: (name, type, arrays) of each; float64 arrays are written as such, all others as
        float32. A type is a word; V1 has numbers for them, and takes a number as well.
      version: "v1" (`layers`) or "v2" (`layer`).
      legacy_shapes: whether shapes are written as num, channels, height and width, with leading
        ones for fewer axes; None: in V1 only.
      packed: whether values are written in one piece, or each with its own key.
    """
    legacy_shapes = version == "v1" if legacy_shapes is None else legacy_shapes
    with open(path, "wb") as file:
        file.write(delimited(1, b"net"))
        for name, kind, arrays in layers:
            blobs = [_blob(np.asarray(array), legacy_shapes, packed) for array in arrays]
            if version == "v1":
                field, blobs_field = 2, 6
                parts = [delimited(2, b"in"), delimited(3, b"out"), delimited(4, name.encode())]
                parts.append(number(5, V1_TYPES[kind] if isinstance(kind, str) else kind))
            else:
                field, blobs_field = 100, 7
                parts = [delimited(1, name.encode()), delimited(2, kind.encode())]
                parts += [delimited(3, b"in"), delimited(4, b"out")]
            for pieces in blobs:
                parts += [key(blobs_field, 2), varint(sum(map(len, pieces))), *pieces]
            file.write(key(field, 2) + varint(sum(map(len, parts))))
            file.writelines(parts)


def varint(n):
    """A number as a protobuf varint; a negative one as 64 bits."""
    n %= 2**64
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def key(field, wire):
    """The number of a field and the wire type of its value: 0, 1, 2 or 5."""
    return varint(field << 3 | wire)


def number(field, n):
    """A field with an integer."""
    return key(field, 0) + varint(n)


def delimited(field, data):
    """A field with bytes, a text, a message or packed values."""
    return key(field, 2) + varint(len(data)) + data


def _blob(array, legacy_shapes, packed):
    """The pieces of a BlobProto, without copying the values."""
    if legacy_shapes:
        shape = (1,) * (4 - array.ndim) + array.shape
        start = b"".join(number(field, n) for field, n in zip((1, 2, 3, 4), shape, strict=True))
    else:
        start = delimited(7, delimited(1, b"".join(map(varint, array.shape))))
    double = array.dtype == np.float64
    field = 8 if double else 5
    values = np.ascontiguousarray(array, "<f8" if double else "<f4").reshape(-1)
    if packed:
        return [start, key(field, 2), varint(values.nbytes), values.view(np.uint8).data]
    keyed = np.dtype([("key", "u1"), ("value", values.dtype)])
    rows = np.empty(values.shape, keyed)
    rows["key"], rows["value"] = key(field, 1 if double else 5)[0], values
    return [start, rows.tobytes()]
