"""Pickles of state dicts, opcode by opcode, also ones that torch.save would not write."""

import struct


def number(n):
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(data)) + data


def text(s):
    return b"X" + struct.pack("<I", len(s.encode())) + s.encode()


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(shape, strides, length, offset=0):
    """A float32 tensor in a storage "0" with `length` values."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += number(length) + b"tQ"
    head = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset)
    return head + numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
