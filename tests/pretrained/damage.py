"""Damages files of weights, and measures the cost of reading files."""

import contextlib
import subprocess
import sys
import tracemalloc

import pytest
from caffe_writer import varint


def mutated(rng, files):
    """Returns one of `files`, damaged in one or several typical ways."""
    data = bytearray(files[rng.integers(len(files))])
    for _ in range(rng.integers(1, 4)):
        at, n = rng.integers(len(data) + 1), int(rng.integers(1, 9))
        how = rng.integers(6)
        if how == 0:  # flipped bits
            for i in rng.integers(len(data), size=n) if data else ():
                data[i] ^= 1 << rng.integers(8)
        elif how == 1:  # cut off
            del data[at:]
        elif how == 2:  # a false length, or whatever number is there
            data[at : at + n] = varint(int(rng.integers(2 ** int(rng.integers(1, 63)))))
        elif how == 3:  # bytes lost
            del data[at : at + n]
        elif how == 4:  # a splice from another file, or from this one
            other = files[rng.integers(len(files))]
            begin = rng.integers(len(other))
            data[at : at + rng.integers(200)] = other[begin : begin + rng.integers(200)]
        else:  # extreme bytes
            data[at : at + n] = bytes([(0, 0x7F, 0x80, 0xFF)[rng.integers(4)]] * n)
    return bytes(data)


@contextlib.contextmanager
def traced():
    """Yields a function that returns the peak memory since its last call, minus the memory in use
    then."""
    tracemalloc.start()
    before = 0

    def peak():
        nonlocal before
        cost = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        return cost

    try:
        peak()
        yield peak
    finally:
        tracemalloc.stop()


_READ_ALL = """
import pathlib, sys
import numpy as np
from jaxseg.pretrained.tensor_file import read_tensors

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

before = peak()
file = read_tensors(sys.argv[1])
total = sum(np.array(a, np.float32).sum(dtype=np.float64) for a in file.tensors.values())
print(peak() - before, total)
"""


def cost_of_reading(path):
    """The peak memory in bytes while all arrays of a file are read one by one, and the sum of all
    values."""
    if sys.platform != "linux":
        pytest.skip("only Linux says how much memory a process had at most")
    words = [sys.executable, "-c", _READ_ALL, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    cost, total = done.stdout.split()
    return int(cost), float(total)
