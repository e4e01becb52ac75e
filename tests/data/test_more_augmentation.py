"""Turns, noise, erasing and mixing: labels keep their values and stay with their pixels."""

import numpy as np
import pytest

from jaxseg.config import default_config, set_field
from jaxseg.data import Augment, DataInfo, Example, train_batches
from jaxseg.data.mixing import Mixed, augmentation, examples_with
from jaxseg.errors import InputError

LABEL = np.random.default_rng(0).integers(0, 5, (40, 56), np.uint8)
CODED = Example(np.repeat(LABEL[..., None] * 50, 3, axis=2), LABEL, "a")  # colour encodes label


class Examples:
    """Examples with two classes each, which differ between examples; colours encode the class."""

    info = DataInfo("five", tuple("abcde"), ((0, 0, 0),) * 5)

    def __init__(self, count=6):
        rng = np.random.default_rng(1)
        self.labels = [
            rng.choice([i % 5, (i + 1) % 5], (30, 34)).astype(np.uint8) for i in range(count)
        ]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        label = self.labels[index]
        return Example(np.repeat(label[..., None] * 50, 3, axis=2), label, str(index))

    def name(self, index):
        return str(index)

    def size(self, index):
        return self.labels[index].shape


def config(**fields):
    c = default_config()
    for name, value in fields.items():
        set_field(c, f"augment.{name}", value)
    return c.augment


def assert_together(example):
    """Checks that each labelled pixel has its label's colour."""
    known = example.label != 255
    np.testing.assert_array_equal(example.image[known][:, 0], example.label[known] * 50)


def test_flips_and_quarter_turns_are_exact_and_all_occur():
    square = Example(CODED.image[:40, :40], LABEL[:40, :40], "a")
    how = Augment(crop=(40, 40), flip=0.5, vertical_flip=0.5, quarter_turns=0.75)
    found = set()
    for seed in range(60):
        out = how(square, np.random.default_rng(seed))
        assert_together(out)
        found.add(out.label.tobytes())
    turned = [np.rot90(m, k) for m in (square.label, square.label.T) for k in range(4)]
    assert found == {np.ascontiguousarray(t).tobytes() for t in turned}
    wide = Augment(crop=(56, 40), quarter_turns=1.0)
    shapes = {wide(CODED, np.random.default_rng(s)).label.shape for s in range(8)}
    assert shapes == {(56, 40)}


def test_disabled_augmentations_draw_no_numbers():
    """New augmentations that are off leave the random numbers of a run unchanged."""
    how = {"crop": (30, 30), "scale": (0.5, 1.5), "flip": 0.5, "rotation": 9.0, "hue": 0.2}
    more = Augment(**how, noise=0.1, erase=1.0)
    for seed in range(5):
        plain = Augment(**how)(CODED, np.random.default_rng(seed))
        noisy = more(CODED, np.random.default_rng(seed))
        same = noisy.label != 255
        np.testing.assert_array_equal(noisy.label[same], plain.label[same])


def test_noise_has_its_std_and_leaves_labels():
    for dtype in (np.uint8, np.uint16, np.float32):
        check_noise(dtype)


def check_noise(dtype):
    top = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    image = np.full((60, 60, 4), top / 2).astype(dtype)
    image[0, 0] = 0  # for floats the image's own range counts
    image[0, 1] = top
    label = np.zeros((60, 60), np.uint8)
    stds = []
    for seed in range(20):
        out = Augment(noise=0.2)(Example(image, label, "a"), np.random.default_rng(seed))
        assert out.image.dtype == dtype
        np.testing.assert_array_equal(out.label, label)
        apart = out.image[1:].astype(float) - image[1:].astype(float)
        assert abs(apart.mean()) < 0.02 * top
        stds.append(apart.std() / top)
    assert 0.005 < min(stds) < 0.08 and 0.12 < max(stds) < 0.21


def test_erasing_ignores_what_nobody_sees():
    shares = []
    for seed in range(40):
        out = Augment(erase=1.0, fill=(9, 8, 7))(CODED, np.random.default_rng(seed))
        gone = out.label == 255
        assert (out.image[gone] == (9, 8, 7)).all()
        np.testing.assert_array_equal(out.label[~gone], LABEL[~gone])
        np.testing.assert_array_equal(out.image[~gone], CODED.image[~gone])
        rows, columns = gone.any(1).sum(), gone.any(0).sum()
        assert gone.sum() == rows * columns  # one rectangle
        shares.append(gone.mean())
    assert 0.015 < min(shares) < 0.06 and 0.14 < max(shares) < 0.21
    none = Augment(erase=0.0)(CODED, np.random.default_rng(0))
    assert not (none.label == 255).any()


def test_mixing_pastes_half_of_the_classes_with_their_pixels():
    source = Examples()
    mix = augmentation(config(crop=(24, 24), flip=0.5, mix=1.0), source, (1, 2, 3))
    gained = 0
    for seed in range(30):
        own = source[seed % 6]
        out = mix(own, np.random.default_rng(seed))
        known = out.label != 255
        assert set(np.unique(out.label[known])) <= set(range(5))
        assert_together(out)
        new = set(np.unique(out.label[known])) - set(np.unique(own.label))
        assert len(new) <= 1  # half of two classes is one
        gained += bool(new)
    assert gained > 10


def test_given_classes_are_taken_from_images_that_have_them():
    source = Examples()
    assert examples_with(source, [3]) == [2, 3]
    mix = augmentation(config(crop=(20, 20), mix=1.0, mix_classes=("d",)), source, (0, 0, 0))
    for seed in range(10):
        out = mix(source[0], np.random.default_rng(seed))
        assert set(np.unique(out.label)) == {0, 1, 3}
        assert_together(out)


def test_mixing_is_a_function_of_seed_and_position():
    source = Examples()
    mix = augmentation(config(crop=(20, 20), mix=0.5, erase=0.5, noise=0.1), source, (0, 0, 0))

    def batches(start, threads):
        found = train_batches(
            source, seed=3, batch_size=4, augment=mix, start_step=start, threads=threads
        )
        taken = [next(found) for _ in range(4 - start)]
        found.close()
        return taken

    for one, other in zip(batches(0, 2)[2:], batches(2, 0), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)


def test_invalid_combinations_are_refused():
    source = Examples()
    for fields, words in (
        ({"mix": 0.5}, "without augment.crop"),
        ({"mix_classes": ("a",), "crop": (8, 8)}, "augment.mix is 0"),
        ({"mix": 0.5, "crop": (8, 8), "mix_classes": ("f",)}, "not a class of 'five'"),
        ({"quarter_turns": 0.5}, "quarter_turns is 0.5 without"),
        ({"erase": 2.0}, "probability in 0..1"),
        ({"noise": 2.0}, "0..1"),
    ):
        with pytest.raises(InputError, match=words):
            augmentation(config(**fields), source, (0, 0, 0))
    source.labels = [np.zeros((9, 9), np.uint8)]
    with pytest.raises(InputError, match="No training image contains"):
        augmentation(config(crop=(8, 8), mix=0.5, mix_classes=("e",)), source, (0, 0, 0))
    assert isinstance(augmentation(config(crop=(8, 8), mix=0.5), source, (0, 0, 0)), Mixed)
