import numpy as np
import pytest

from jaxseg.data import Scenes, eval_batches, resize_image
from jaxseg.errors import InputError


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_every_example_once_in_batches_of_one_shape(devkit, batch_size):
    source = devkit.open()
    seen = []
    for batch in eval_batches(source, batch_size=batch_size):
        assert batch.image.shape == (*batch.label.shape, 3)
        assert batch.image.dtype == batch.label.dtype == np.uint8
        assert len(batch.indices) == batch_size
        names = [source.name(i) if i >= 0 else "" for i in batch.indices]
        assert batch.names == names
        for slot, index in enumerate(batch.indices):
            if index < 0:
                assert (batch.image[slot] == 0).all()
                assert (batch.label[slot] == 255).all()
            else:
                np.testing.assert_array_equal(batch.image[slot], source[index].image)
                np.testing.assert_array_equal(batch.label[slot], source[index].label)
                seen.append(int(index))
    assert sorted(seen) == list(range(5))
    assert seen == sorted(seen, key=lambda i: (source.size(i), i))


def test_number_of_batches_and_padding():
    source = Scenes(0, 10, (16, 24))
    batches = list(eval_batches(source, batch_size=4, threads=0))
    assert [(b.indices >= 0).sum() for b in batches] == [4, 4, 2]
    assert batches[-1].indices.tolist() == [8, 9, -1, -1]
    assert len(list(eval_batches(source, batch_size=5))) == 2


def test_input_size_resizes_images_alone(devkit):
    source = devkit.open()
    for batch in eval_batches(source, batch_size=2, input_size=(20, 30)):
        assert batch.image.shape == (2, 20, 30, 3)
        index = batch.indices[0]
        assert batch.label.shape[1:] == source.size(index)
        np.testing.assert_array_equal(batch.image[0], resize_image(source[index].image, (20, 30)))


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_get_the_parts_of_the_batch_of_one(devkit, processes):
    whole = list(eval_batches(devkit.open(), batch_size=4))
    parts = [
        list(eval_batches(devkit.open(), batch_size=4, process_index=p, process_count=processes))
        for p in range(processes)
    ]
    assert all(len(p) == len(whole) for p in parts)
    for i, batch in enumerate(whole):
        for key in ("image", "label", "indices"):
            joined = np.concatenate([getattr(p[i], key) for p in parts])
            np.testing.assert_array_equal(joined, getattr(batch, key))
        assert all(p[i].step == batch.step == i for p in parts)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_padding_makes_few_groups(devkit, batch_size):
    source = devkit.open()
    seen = []
    for batch in eval_batches(source, batch_size=batch_size, pad_to=16):
        assert all(n % 16 == 0 for n in batch.label.shape[1:])
        for slot, index in enumerate(batch.indices):
            if index >= 0:
                h, w = source.size(index)
                np.testing.assert_array_equal(batch.image[slot, :h, :w], source[index].image)
                np.testing.assert_array_equal(batch.label[slot, :h, :w], source[index].label)
                assert (batch.label[slot] != 255).sum() == (source[index].label != 255).sum()
                seen.append(int(index))
    assert sorted(seen) == list(range(5))
    shapes = {b.label.shape for b in eval_batches(source, batch_size=batch_size, pad_to=32)}
    assert len(shapes) == 1
    with pytest.raises(InputError, match="eval.pad_to 32"):
        eval_batches(source, batch_size=1, input_size=(8, 8), pad_to=32)


def test_a_broken_file_surfaces(devkit):
    source = devkit.open()
    devkit.mask("p4", np.full((21, 21), 77, np.uint8))
    with pytest.raises(InputError, match="p4.png contains the value 77"):
        list(eval_batches(source, batch_size=2))


def test_arguments_are_checked(devkit):
    with pytest.raises(InputError, match="batch of 3 cannot be split evenly over 2"):
        eval_batches(devkit.open(), batch_size=3, process_count=2)
    with pytest.raises(InputError, match=r"eval.input_size is \(64,\)"):
        eval_batches(devkit.open(), batch_size=3, input_size=(64,))
