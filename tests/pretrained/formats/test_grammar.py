"""Files made by the grammar of each format, with lies in it: arrays or an InputError, at once."""

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

from jaxseg.errors import InputError
from jaxseg.pretrained.tensor_file import read_tensors

NUMBERS = (0, 1, 2, 3, 4, 8, 2**31, 2**62, 2**63 - 1, 2**64, -1, 10**5000)
NAMES = ("a", "b", "a\nfix: x", "n" * 5000, "", "\x1b[2K", "layer.weight")


class Writer(random.Random):
    """Writes one file, in which nearly everything is right, or every fifth thing is not."""

    def __init__(self, seed):
        super().__init__(seed)
        self._lies = self.choice([0.02, 0.2])

    def put(self, right, wrong):
        """What belongs there, or one of `wrong`."""
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
    """A state dict of `torch.save`, whose numbers, names and ends may be anything."""
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


# ---- Caffe


def field(rng, number, content):
    """A field of protobuf, whose wire type and length now and then lie."""
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
    "caffe": ("caffemodel", caffemodel),
}


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", FORMATS)
def test_structured_files(name, count, tmp_path):
    suffix, make = FORMATS[name]
    path = tmp_path / f"file.{suffix}"
    read = 0
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
        assert peak < 2 * len(data) + (4 << 20), seed
        assert time.process_time() - began < 5, seed
    assert count / 20 < read < count * 9 / 10  # some are whole
