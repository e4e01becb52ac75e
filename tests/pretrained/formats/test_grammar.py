"""Files from each format's grammar with errors in them give arrays or an InputError, at once."""

import io
import json
import math
import random
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from caffe_writer import varint
from pickle_writer import number, tensor, text
from safetensors import SafetensorError, safe_open

from jaxseg.errors import InputError
from jaxseg.pretrained.tensor_file import read_tensors

NUMBERS = (0, 1, 2, 3, 4, 8, 2**31, 2**62, 2**63 - 1, 2**64, -1, 10**5000)
NAMES = ("a", "b", "a\nfix: x", "n" * 5000, "", "\x1b[2K", "layer.weight")


class Writer(random.Random):
    """Writes one file that is nearly correct, or in which every fifth item is wrong."""

    def __init__(self, seed):
        super().__init__(seed)
        self._lies = self.choice([0.02, 0.2])

    def put(self, right, wrong):
        """Returns the right item, or sometimes one of `wrong`."""
        return self.choice(wrong) if self.random() < self._lies else right

    def shape(self):
        right = [self.randrange(3) for _ in range(self.randrange(3))]
        sizes = [0, 1, 2, 3, 2**31, 2**62]
        return self.put(right, [[self.choice(sizes) for _ in range(self.randrange(40))]])

    def name(self):
        return self.put(f"layer{self.getrandbits(30)}.weight", NAMES)


# ---- safetensors


def safetensors(rng):
    entries, end = [], 0
    for _ in range(rng.randrange(5)):
        shape, begin = rng.shape(), rng.put(end, [0, 4, 8, 2**62])
        end = begin + rng.put(4 * math.prod(shape), [0, 4, 8, 16])
        entry = {
            "dtype": rng.put("F32", ["F16", "BOOL", "F8_E4M3", "X"]),
            "shape": shape,
            "data_offsets": [begin, end],
        }
        entries.append(f"{json.dumps(rng.name())}: {json.dumps(entry)}")
    head = ("{" + ", ".join(entries) + "}").encode()
    return struct.pack("<Q", rng.put(len(head), [1, 2**62])) + head + bytes(min(end, 64))


# ---- PyTorch


def pickled(rng):
    """A state dict of `torch.save` with arbitrary numbers, names and ends."""
    items = b""
    for _ in range(rng.randrange(5)):
        shape = rng.shape()
        strides = rng.put([1] * len(shape), [rng.shape()])
        value = tensor(shape, strides, rng.put(4, NUMBERS), rng.put(0, NUMBERS))
        key = rng.put(text(rng.name()), [number(rng.choice(NUMBERS)), b"N"])
        items += key + rng.put(value, [b"N", b"]", number(7)])
    return b"\x80\x02}(" + items + rng.put(b"u.", [b"u", b"cos\nsystem\n.", b"c" + b"x" * 9000])


def torch_zip(rng):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickled(rng))
        archive.writestr("a/data/0", bytes(16))
    return file.getvalue()


def torch_legacy(rng):
    """The container before PyTorch 1.6: a sequence of pickles, followed by the values."""
    magic = b"\x80\x02" + number(rng.put(0x1950A86A20F9469CFC6C, NUMBERS)) + b"."
    system = b"\x80\x02}(" + text("little_endian") + rng.put(b"\x88", [b"N", b"K\5"]) + b"u."
    keys = b"\x80\x02](" + rng.put(text("0"), [number(7), b"N", text("0") * 2]) + b"e."
    count = struct.pack("<q", rng.put(4, [0, 5, 2**62, -1]))
    parts = [magic, b"\x80\x02" + number(1001) + b".", system, pickled(rng), keys, count, bytes(16)]
    return b"".join(rng.put(part, [b"", part * 2, part[:-1]]) for part in parts)


# Fields of a zip's records: offset and number of bytes.
FIELDS = {
    b"PK\1\2": ((8, 2), (10, 2), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)),
    b"PK\3\4": ((6, 2), (8, 2), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\5\6": ((8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}


def zip_that_lies(rng):
    """The zip container, with false numbers in its records."""
    data = bytearray(torch_zip(rng))
    for signature, fields in FIELDS.items():
        at = data.find(signature)
        while at >= 0:
            for offset, size in fields:
                right = data[at + offset : at + offset + size]
                lie = rng.choice([0, 1, 7, len(data), 2 ** (8 * size) - 1]) % 2 ** (8 * size)
                data[at + offset : at + offset + size] = rng.put(
                    right, [lie.to_bytes(size, "little")]
                )
            at = data.find(signature, at + 4)
    return bytes(data)


# ---- Caffe


def field(rng, number, content):
    """A field of protobuf whose wire type and length are sometimes false."""
    if isinstance(content, int):
        return varint(8 * number + rng.put(0, [1, 2, 5])) + varint(content)
    length = rng.put(len(content), [0, len(content) + 1, 2**31, 2**62, 2**64 - 1])
    return varint(8 * number + rng.put(2, [0, 1, 3, 5])) + varint(length) + content


def caffemodel(rng):
    net = b""
    for _ in range(rng.randrange(4)):
        layer = field(rng, 1, rng.name().encode()) + field(rng, 2, b"Convolution")
        for _ in range(rng.randrange(3)):
            shape = rng.shape()
            old = b"".join(field(rng, n, rng.choice([0, 1, 2**31, 2**63])) for n in (1, 2, 3, 4))
            new = field(rng, 7, field(rng, 1, b"".join(map(varint, shape))))
            count = rng.put(math.prod(shape), range(8))
            values = field(rng, rng.put(5, [8]), bytes(4 * min(count, 8)))
            layer += field(rng, 7, rng.put(new, [old]) + values * rng.put(1, [2]))
        net += field(rng, rng.put(100, [2, 3]), layer)
    return net


FORMATS = {
    "safetensors": ("safetensors", safetensors),
    "torch": ("pth", torch_zip),
    "torch legacy": ("pth", torch_legacy),
    "lying zip": ("pth", zip_that_lies),
    "caffe": ("caffemodel", caffemodel),
}


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", FORMATS)
def test_structured_files(name, count, tmp_path):
    suffix, make = FORMATS[name]
    path = tmp_path / f"file.{suffix}"
    read = 0
    dear = (0.0, 0)  # largest processor time and memory for a file
    for seed in range(count):
        data = make(Writer(seed))
        path.write_bytes(data)
        began = time.process_time()
        tracemalloc.start()
        try:
            for array in read_tensors(path).tensors.values():
                assert np.array(array).nbytes <= len(data), seed
            read += 1
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 5000, seed
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        seconds, over = time.process_time() - began, peak - 2 * len(data)
        assert over < 1 << 20, seed
        assert seconds < 5, seed
        dear = max(dear[0], seconds), max(dear[1], over)
    print(f"{name}: {read} of {count} read, {count - read} refused; at most {dear[0]:.2f} s of")
    print(f"processor time and {dear[1] / 1024:,.0f} KiB beyond twice the file")
    assert count / 20 < read < count * 9 / 10  # some are valid


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_safetensors_are_taken_as_the_package_takes_them(count, tmp_path):
    """jaxseg refuses more: other dtypes, and shapes that NumPy arrays cannot have."""
    path, agreed = tmp_path / "file.safetensors", 0
    for seed in range(count):
        path.write_bytes(safetensors(Writer(seed)))
        try:
            with safe_open(path, "numpy") as file:
                theirs = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            theirs = None
        try:
            tensors = read_tensors(path).tensors
            agreed += 1
            assert theirs is not None, seed
            assert sorted(theirs.values()) == sorted(list(tensors[n].shape) for n in tensors), seed
        except InputError as error:
            ours = ("has dtype", "axes", "no array can have", "same name", "empty")
            assert theirs is None or not theirs or any(w in str(error) for w in ours), (seed, error)
    assert agreed > count / 20
