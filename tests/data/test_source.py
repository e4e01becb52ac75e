import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxseg.data import Cached, DataInfo, Scenes
from jaxseg.errors import InputError


class Counting(Scenes):
    reads = 0

    def __getitem__(self, index):
        type(self).reads += 1
        return super().__getitem__(index)


@pytest.fixture
def counting():
    Counting.reads = 0
    return Counting(0, 4, (16, 18))


def test_cached_reads_each_example_once(counting):
    cached = Cached(counting)
    for _ in range(3):
        for i in range(4):
            assert cached[i] is cached[i]
    assert Counting.reads == 4
    assert (len(cached), cached.info, cached.name(2), cached.size(2)) == (
        (4, counting.info, counting.name(2), (16, 18))
    )


def test_cached_examples_equal_the_source_and_cannot_be_written_to(counting):
    cached = Cached(counting)
    np.testing.assert_array_equal(cached[1].image, counting[1].image)
    np.testing.assert_array_equal(cached[1].label, counting[1].label)
    with pytest.raises(ValueError, match="read-only"):
        cached[1].label[0, 0] = 1


def test_cached_gives_every_thread_the_same_example(counting):
    cached = Cached(counting)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda i: cached[i % 4], range(200)))
    assert all(got[i] is got[i % 4] for i in range(200))


def test_cached_travels_empty(counting):
    cached = Cached(Scenes(0, 4, (64, 64)))
    empty = len(pickle.dumps(cached))
    cached[0]
    assert len(pickle.dumps(cached)) == empty
    copy = pickle.loads(pickle.dumps(cached))
    np.testing.assert_array_equal(copy[0].image, cached[0].image)


@pytest.mark.parametrize("count", [0, 256])
def test_number_of_classes_is_checked(count):
    with pytest.raises(InputError, match=f"'x' has {count} classes"):
        DataInfo("x", ("a",) * count, ((0, 0, 0),) * count)


def test_palette_has_one_colour_a_class():
    with pytest.raises(InputError, match="2 classes but 1 colours"):
        DataInfo("x", ("a", "b"), ((0, 0, 0),))
