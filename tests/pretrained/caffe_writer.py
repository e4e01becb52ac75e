"""Writes `.caffemodel` files, byte by byte, in the formats that Caffe has had over the years."""

import numpy as np

# V1LayerParameter.LayerType, of Caffe and (from 39 on) of the fork that DeconvNet was trained with.
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
      path: where to.
      layers: (name, type, arrays) of each; float64 arrays are written as such, all others as
        float32. A type is a word; V1 has numbers for them, and takes a number as well.
      version: "v1" (`layers`) or "v2" (`layer`).
      legacy_shapes: whether shapes are written as num, channels, height and width, with ones in
        front where there are fewer; None: in V1 only.
      packed: whether values are written in one piece, or each with a key of its own.
    """
    legacy_shapes = version == "v1" if legacy_shapes is None else legacy_shapes
    with open(path, "wb") as file:
        file.write(_bytes(1, b"net"))
        for name, kind, arrays in layers:
            blobs = [_blob(np.asarray(array), legacy_shapes, packed) for array in arrays]
            if version == "v1":
                number = V1_TYPES[kind] if isinstance(kind, str) else kind
                head = _bytes(2, b"in") + _bytes(3, b"out") + _bytes(4, name.encode())
                head += _number(5, number)
                layer, field = (head, 6), 2
            else:
                head = _bytes(1, name.encode()) + _bytes(2, kind.encode()) + _bytes(3, b"in")
                layer, field = (head + _bytes(4, b"out"), 7), 100
            head, blobs_field = layer
            parts = [head]
            for pieces in blobs:
                parts += [_key(blobs_field, 2), varint(sum(map(len, pieces))), *pieces]
            file.write(_key(field, 2) + varint(sum(map(len, parts))))
            file.writelines(parts)


def varint(n):
    """A number as protobuf writes it; a negative one as of 64 bits."""
    n %= 2**64
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def _blob(array, legacy_shapes, packed):
    """The pieces of a BlobProto; the values are not copied."""
    if legacy_shapes:
        shape = (1,) * (4 - array.ndim) + array.shape
        start = b"".join(_number(field, n) for field, n in zip((1, 2, 3, 4), shape, strict=True))
    else:
        start = _bytes(7, _bytes(1, b"".join(map(varint, array.shape))))
    double = array.dtype == np.float64
    field = 8 if double else 5
    values = np.ascontiguousarray(array, "<f8" if double else "<f4").reshape(-1)
    if packed:
        return [start, _key(field, 2), varint(values.nbytes), values.view(np.uint8).data]
    keyed = np.dtype([("key", "u1"), ("value", values.dtype)])
    rows = np.empty(values.shape, keyed)
    rows["key"], rows["value"] = _key(field, 1 if double else 5)[0], values
    return [start, rows.tobytes()]


def _key(field, wire):
    return varint(field << 3 | wire)


def _number(field, n):
    return _key(field, 0) + varint(n)


def _bytes(field, data):
    return _key(field, 2) + varint(len(data)) + data
