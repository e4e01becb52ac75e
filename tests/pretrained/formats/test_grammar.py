"""Files made by the grammar of each format, with lies in it: arrays or an InputError, at once."""

import json
import struct
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxseg.errors import InputError
from jaxseg.pretrained.tensor_file import read_tensors

SIZES = st.lists(st.sampled_from([0, 1, 2, 3, 2**31, 2**62]), max_size=40)
NAMES = st.sampled_from(["a", "b", "a\nfix: x", "n" * 5000, "", "\x1b[2K", "layer.weight"])


@st.composite
def safetensors(draw):
    entries = []
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.sampled_from([0, 4, 8, 2**62]))
        entry = {
            "dtype": draw(st.sampled_from(["F32", "F16", "BOOL", "F8_E4M3", "X"])),
            "shape": draw(SIZES),
            "data_offsets": [begin, begin + draw(st.sampled_from([0, 4, 8, 16]))],
        }
        entries.append(f"{json.dumps(draw(NAMES))}: {json.dumps(entry)}")
    head = ("{" + ", ".join(entries) + "}").encode()
    length = draw(st.sampled_from([len(head), len(head), len(head), 1, 2**62]))
    return struct.pack("<Q", length) + head + bytes(draw(st.sampled_from([0, 8, 16])))


def assert_arrays_or_told(path):
    began = time.perf_counter()
    try:
        for array in read_tensors(path).tensors.values():
            assert np.array(array).nbytes <= path.stat().st_size
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 5000
    assert time.perf_counter() - began < 5


FORMATS = {
    "safetensors": (safetensors(), lambda path, data: path.write_bytes(data)),
}


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", FORMATS)
def test_structured_files(name, count, tmp_path):
    made, write = FORMATS[name]

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(made)
    def run(data):
        path = tmp_path / "file"
        write(path, data)
        assert_arrays_or_told(path)

    run()
