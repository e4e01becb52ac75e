"""Files made to cost time or memory are refused with an error, quickly and cheaply."""

import io
import json
import struct
import time
import tracemalloc
import zipfile

import pytest
from caffe_writer import varint
from pickle_writer import number, tensor, text

from jaxseg.errors import InputError
from jaxseg.pretrained.formats import caffe as caffe_format
from jaxseg.pretrained.formats import pickle, pytorch, safetensors
from jaxseg.pretrained.tensor_file import read_tensors


def torch_file(items, end=b"u."):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}(" + items + end)
        archive.writestr("a/data/0", bytes(16))
    return out.getvalue()


def state(shape, strides, length=4, offset=0):
    return torch_file(text("w") + tensor(shape, strides, length, offset))


def safe(header, size=None):
    head = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(head) if size is None else size) + head + bytes(16)


def entry(shape, end=16, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


def part(number, content):
    return varint(8 * number + 2) + varint(len(content)) + content


def caffe(shape, values=16, name=b"conv"):
    blob = part(7, part(1, b"".join(map(varint, shape)))) + part(5, bytes(values))
    return part(100, part(1, name) + part(7, blob))


def twice(file):
    return file.replace(b'"b"', b'"a"')


ONE = tensor((1,), (1,), 4)
TWO_OF_ONE_NAME = (
    state((4,), (1,)).replace(b"a/data/0", b"a/\0_____").replace(b"a/data.pkl", b"a/\0_______")
)
PAIRS = b"](" + b"".join(text(str(i)) + b"N\x86" for i in range(1000)) + b"eq\1"
PAIRS_AGAIN = torch_file(b"", PAIRS + b"ccollections\nOrderedDict\nh\1\x85R" * 100 + b".")
TEXT = text("x" * 100_000) + b"q\1"
TEXT_AGAIN = torch_file(b"", TEXT + b"c_codecs\nencode\nh\1\x85R" * 99 + b".")
PRIME = 2**61 - 1  # Python hashes a number modulo this prime
NOT_WHOLE = "is not a complete"
TORCH = {
    "keys of one hash": (torch_file(number(2 * PRIME) + b"N"), "key is a number"),
    "fractions as keys": (torch_file(b"G" + struct.pack(">d", 0.1) + b"N"), "a fraction"),
    "tuples as keys": (torch_file(b")N"), "a tuple is used as a key"),
    "a long line": (torch_file(b"", b"c" + b"x" * 5_000_000), "line of more than 4,096 bytes"),
    "a long number in a line": (torch_file(b"", b"L" + b"9" * 5000 + b"L\n."), "line of more than"),
    "numbers of thousands of digits": (state((1,), (10**5000,)), NOT_WHOLE),
    "a shape of thousands of digits": (state((10**5000,), (1,)), NOT_WHOLE),
    "a storage of thousands of digits": (state((1,), (1,), 10**5000), NOT_WHOLE),
    "a name of thousands of digits": (torch_file(number(10**5000) + ONE), NOT_WHOLE),
    "too many axes": (state((1,) * 33, (1,) * 33), "has 33 axes"),
    "nothing, but large": (state((0, 2**62), (1, 1)), "no array can have"),
    "strides that overflow": (state((2, 2), (2**62, 2**62)), "more elements than its storage"),
    "an offset that overflows": (state((2,), (1,), 4, 2**63 - 1), "more elements than its storage"),
    "repeated elements": (state((1 << 40,), (0,)), "more elements than its storage"),
    "lists in lists": (torch_file(b"", b"]" * 5_000 + b"a" * 4_999 + b"s."), NOT_WHOLE),
    "a list of itself": (torch_file(b"", b"]q\1h\1a\x85Q."), NOT_WHOLE),
    "a text of 2 GB": (torch_file(b"", b"X\xff\xff\xff\x7f"), NOT_WHOLE),
    "a list given to a function again and again": (PAIRS_AGAIN, "more than .* steps"),
    "a long text made bytes of again and again": (TEXT_AGAIN, "no state dict"),
    "a shape of any length": (state((1,) * 65, (1,) * 65), "more than 64 axes"),
    "nothing but containers": (torch_file(b"", b"\x8f" * 13_000), "50,000 containers"),
    "two keys of one name": (torch_file(text("7") + ONE + number(7) + ONE), "same name"),
    "two entries with the same name": (TWO_OF_ONE_NAME, "two entries with the same name"),
}  # fmt: skip
SAFETENSORS = {
    "numbers of thousands of digits": (safe({"a": entry([10**4000])}), NOT_WHOLE),
    "too many axes": (safe({"a": entry([4] + [1] * 32)}), "has 33 axes"),
    "nothing, but large": (safe({"a": entry([0, 2**62], 0), "b": entry([4])}), "no array can"),
    "a product that overflows": (safe({"a": entry([2**32, 2**32])}), "no array can"),
    "lists in lists": (safe("[" * 100_000), NOT_WHOLE),
    "an entry of any contents": (safe({"a": entry([[]] * 2000)}), NOT_WHOLE),
    "a hole between tensors": (safe({"a": entry([1], 4) | {"data_offsets": [4, 8]}}), NOT_WHOLE),
    "two tensors in one place": (safe({"a": entry([4]), "b": entry([4])}), NOT_WHOLE),
    "two tensors of one name": (twice(safe({"a": entry([4]), "b": entry([4])})), NOT_WHOLE),
}  # fmt: skip
CAFFE = {
    "too many axes": (caffe([1] * 33, 4), "declares the shape"),
    "nothing, but large": (caffe([0, 2**62], 0), "declares the shape"),
    "a product that overflows": (caffe([2**32, 2**32], 0), "declares the shape"),
    "a number without end": (part(100, b"\x0a" + b"\xff" * 2000), "more than 64 bits"),
    "a name of 5 MB": (caffe([4], name=b"n" * 5_000_000), "the name of a layer has 5,000,000"),
    "two layers of one name": (caffe([4]) * 2, "two layers .* are named 'conv'"),
}
CASES = {
    f"{suffix}: {kind}": (suffix, *case)
    for suffix, cases in {"pth": TORCH, "safetensors": SAFETENSORS, "caffemodel": CAFFE}.items()
    for kind, case in cases.items()
}


def refused(path, message):
    """Asserts that the file is refused with this message, at little cost."""
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as error:
            read_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * path.stat().st_size + (4 << 20)
    finally:
        tracemalloc.stop()
    assert len(str(error.value)) < 2500 and "\n" not in str(error.value)
    assert time.process_time() - began < 5


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", CASES)
def test_costly_files_are_refused(tmp_path, case):
    suffix, data, message = CASES[case]
    path = tmp_path / f"file.{suffix}"
    path.write_bytes(data)
    refused(path, message)


CRUMBS = safe({f"{i}": entry([0], 0) for i in range(200)})
LONG = {
    "pth: steps": (pickle, "_MAX_STEPS", torch_file(b"", b"}" * 1000), "more than 100 steps"),
    "pth: bytes": (pickle, "_MAX_BYTES", torch_file(text("n" * 1000) + b"N"), "more than 0 MiB"),
    "pth: entries": (pytorch, "_MAX_LIST", state((4,), (1,)), "table of contents .* too long"),
    "safetensors: header": (safetensors, "_MAX_HEADER", safe({"a" * 99: entry([4])}), "too large"),
    "safetensors: tensors": (safetensors, "_FREE_TENSORS", CRUMBS, "more than [0-9]+ tensors"),
    "caffemodel: fields": (caffe_format, "_MAX_FIELDS", b"\x08\1" * 1000, "more than 100 fields"),
}


@pytest.mark.parametrize("case", LONG)
def test_what_is_longer_than_the_limit(tmp_path, monkeypatch, case):
    module, name, data, message = LONG[case]
    monkeypatch.setattr(module, name, 100)
    path = tmp_path / f"file.{case.partition(':')[0]}"
    path.write_bytes(data)
    refused(path, message)


def test_the_limits_are_far_from_networks():
    arrays = 5_700  # those of a PSPNet on ResNet-269 with an optimizer's state
    assert pickle._MAX_STEPS > 40 * arrays
    assert pytorch._MAX_LIST > 200 * arrays and safetensors._MAX_HEADER > 200 * arrays


@pytest.mark.parametrize("left", [0, 8])
@pytest.mark.parametrize("suffix", ["pth", "safetensors", "caffemodel"])
def test_a_file_that_shrinks_after_it_was_opened(tmp_path, suffix, left):
    path = tmp_path / f"file.{suffix}"
    whole = {
        "pth": state((4,), (1,)),
        "safetensors": safe({"w": entry([4])}),
        "caffemodel": caffe([4]),
    }
    path.write_bytes(whole[suffix])
    tensors = read_tensors(path).tensors
    (name,) = tensors
    assert tensors[name].shape == (4,)
    path.write_bytes(whole[suffix][:left])
    with pytest.raises(InputError, match="changed while it was read: it became shorter"):
        tensors[name]
