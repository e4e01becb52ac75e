"""Batches have one key, start with the oldest request, and lose none."""

import threading
import time

import numpy as np
import pytest

from jaxseg.serve.batcher import Batcher, Full
from jaxseg.serve.coco import rle
from jaxseg.serve.labeller import bucket_side


class Recorder:
    def __init__(self):
        self.batches, self.gate = [], threading.Event()

    def __call__(self, key, images):
        assert self.gate.wait(10)
        self.batches.append((key, list(images)))
        if "bad" in images:
            raise ValueError("bad")
        return [(key, image) for image in images]


@pytest.fixture
def recorder():
    return Recorder()


def test_batches_are_of_one_key_and_in_order(recorder):
    batcher = Batcher(recorder, most_batch=3, window=0.01)
    first = batcher.submit("z", 0)
    time.sleep(0.05)  # the batch now runs and waits at the gate
    keys = "abaabab"
    futures = [batcher.submit(key, i) for i, key in enumerate(keys)]
    recorder.gate.set()
    assert [f.result(5) for f in futures] == [(key, i) for i, key in enumerate(keys)]
    assert first.result() == ("z", 0)
    batches = [("z", [0]), ("a", [0, 2, 3]), ("b", [1, 4, 6]), ("a", [5])]
    assert recorder.batches == batches
    batcher.close()


def test_a_full_batcher_refuses_and_a_closed_one_finishes_its_queue(recorder):
    batcher = Batcher(recorder, most_waiting=2, most_batch=1, window=0)
    futures = [batcher.submit("a", 0)]
    while len(batcher):
        time.sleep(0.001)
    futures += [batcher.submit("a", i) for i in (1, 2)]
    with pytest.raises(Full):
        batcher.submit("a", 3)
    threading.Timer(0.05, recorder.gate.set).start()
    batcher.close()
    assert [f.result(0) for f in futures] == [("a", 0), ("a", 1), ("a", 2)]
    with pytest.raises(Full):
        batcher.submit("a", 4)


def test_an_error_affects_only_its_batch(recorder):
    recorder.gate.set()
    batcher = Batcher(recorder, window=0)
    with pytest.raises(ValueError, match="bad"):
        batcher.submit("a", "bad").result(5)
    assert batcher.submit("a", "good").result(5) == ("a", "good")
    batcher.close()


def test_cancelled_requests_are_not_labelled(recorder):
    batcher = Batcher(recorder, most_batch=1, window=0)
    first = batcher.submit("a", 0)
    while len(batcher):
        time.sleep(0.001)
    dropped, kept = batcher.submit("a", 1), batcher.submit("a", 2)
    assert dropped.cancel()
    recorder.gate.set()
    assert kept.result(5) == ("a", 2) and first.done()
    assert recorder.batches == [("a", [0]), ("a", [2])]
    batcher.close()


def test_few_sides_are_compiled_for():
    sides = {bucket_side(n) for n in range(1, 4097)}
    assert len(sides) == 20 and max(sides) == 4096
    assert all(n <= bucket_side(n) <= max(64, 1.25 * n + 64) for n in range(1, 4097))
    assert all(side % 32 == 0 and bucket_side(side) == side for side in sides)


@pytest.mark.parametrize("seed", range(6))
def test_masks_are_as_pycocotools_reads_them(seed):
    mask = pytest.importorskip("pycocotools.mask", reason="compares with pycocotools")
    rng = np.random.default_rng(seed)
    blocks = rng.random((7, 5)) < (0, 1, 0.5, 0.5, 0.1, 0.9)[seed]
    bits = np.kron(blocks, np.ones((1, 1) if seed % 2 else (9, 31), bool))
    ours, theirs = rle(bits), mask.encode(np.asfortranarray(bits, np.uint8))
    assert ours == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    np.testing.assert_array_equal(mask.decode(ours), bits)
