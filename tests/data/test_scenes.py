import time

import numpy as np
import pytest

from jaxseg.data import Scenes
from jaxseg.errors import InputError


def test_a_scene_is_a_function_of_seed_and_index():
    many, few = Scenes(3, 50, (40, 56)), Scenes(3, 8, (40, 56))
    for i in (7, 0):
        np.testing.assert_array_equal(many[i].image, few[i].image)
        np.testing.assert_array_equal(many[i].label, few[i].label)
        assert many[i].name == few.name(i)


def test_scenes_streams_and_seeds_differ():
    images = [
        Scenes(seed, 3, (32, 32), stream=stream)[i].image.tobytes()
        for seed in (0, 1)
        for stream in ("train", "eval")
        for i in range(3)
    ]
    assert len(set(images)) == 12


@pytest.mark.parametrize("size", [(16, 16), (33, 97), (97, 33), (200, 160)])
def test_shapes_and_values(size):
    source = Scenes(0, 6, size)
    seen = np.zeros(256, int)
    for i in range(len(source)):
        image, label, name = source[i]
        assert (image.shape, image.dtype) == ((*size, 3), np.uint8)
        assert (label.shape, label.dtype) == (size, np.uint8)
        assert (name, source.size(i)) == (source.name(i), size)
        seen += np.bincount(label.ravel(), minlength=256)
    assert set(np.flatnonzero(seen)) <= {0, 1, 2, 3, 4, 5, 255}


def test_every_class_has_its_share_and_borders_are_thin():
    source = Scenes(0, 60, (96, 96))
    counts = sum(np.bincount(source[i].label.ravel(), minlength=256) for i in range(60))
    share = counts / counts.sum()
    assert (share[:6] > 0.04).all()
    assert share[0] < 0.65
    assert 0.02 < share[255] < 0.12


def test_fewer_classes():
    source = Scenes(0, 20, (32, 32), num_classes=3)
    assert source.info.class_names == ("ground", "disc", "square")
    assert {v for i in range(20) for v in np.unique(source[i].label)} == {0, 1, 2, 255}


def test_ends_like_a_sequence():
    assert len(list(Scenes(0, 3, (16, 16)))) == 3


def test_takes_milliseconds():
    source = Scenes(0, 40, (96, 96))
    times = []
    for i in range(40):
        start = time.perf_counter()
        source[i]
        times.append(time.perf_counter() - start)
    assert np.min(times) < 0.010  # about 3 ms each; the minimum of 40 tolerates a busy machine


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": -1},
        {"count": 0},
        {"size": (15, 96)},
        {"size": (96,)},
        {"num_classes": 1},
        {"num_classes": 7},
        {"stream": "test"},
    ],
)
def test_arguments_are_checked(arguments):
    with pytest.raises(InputError):
        Scenes(**{"seed": 0, "count": 1, "size": (32, 32), **arguments})
