"""Useless labels are refused before the first training step, and before scoring."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.config import default_config, set_field
from jaxseg.data import (
    DataInfo,
    Example,
    check_same_classes,
    first_look,
    open_data,
    save_classes,
)
from jaxseg.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """`folder(masks, names)`: a folder whose training split has these masks."""

    def make(masks, names=("back", "road")):
        for part in ("images/train", "masks/train"):
            (tmp_path / part).mkdir(parents=True)
        for i, mask in enumerate(masks):
            mask = np.broadcast_to(np.uint8(mask), (4, 5)) if np.ndim(mask) == 0 else np.uint8(mask)
            Image.fromarray(mask).save(tmp_path / f"masks/train/{i}.png")
            Image.fromarray(np.full((*mask.shape, 3), i, np.uint8)).save(
                tmp_path / f"images/train/{i}.png"
            )
        (tmp_path / "classes.txt").write_text("\n".join(names))
        config = default_config()
        set_field(config, "data.name", "folder")
        set_field(config, "data.root", str(tmp_path))
        return open_data(config.data, "train")

    return make


BOTH = [[0, 1], [1, 0]]


def test_masks_of_0_and_255_are_binary_ones(folder):
    with pytest.raises(InputError, match="'back'; the others are 255") as error:
        first_look(folder([[[0, 255]], 0, 255]))
    assert "mask_values='binary'" in error.value.remedy


def test_one_class(folder):
    with pytest.raises(InputError, match="the 2 training masks of .* have one class, 'road'"):
        first_look(folder([1, 1], ("back", "road", "tree")))


def test_all_ignored(folder):
    with pytest.raises(InputError, match="Every pixel of the 2 training masks"):
        first_look(folder([255, 255]))


class Listed:
    """A list of examples that records the requested indices."""

    def __init__(self, labels, names=("back", "road", "tree")):
        self.info = DataInfo("list", names, ((0, 0, 0),) * len(names))
        self.labels, self.asked = labels, []

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.asked.append(index)
        if self.labels[index] is None:
            raise InputError("A bad file.", "Replace it.")
        label = np.uint8(self.labels[index])
        return Example(np.zeros((*label.shape, 3), np.uint8), label, str(index))


def test_a_sample_is_evenly_spread_and_bounded():
    source = Listed([BOTH] * 100)
    assert first_look(source, sample=4) == []
    assert source.asked == [0, 33, 66, 99]


def test_it_goes_on_until_there_is_a_second_class():
    source = Listed([[[0]]] * 5 + [BOTH] + [[[0]]] * 5)
    assert first_look(source, sample=2) == []
    assert source.asked == [0, 10, 1, 2, 3, 4, 5]


def test_a_class_that_never_occurs_gives_a_hint_if_all_masks_were_read():
    assert first_look(Listed([BOTH] * 3)) == ["hint: no training image has the class 'tree'"]
    assert first_look(Listed([BOTH] * 3), sample=2) == []


def test_bad_files_are_left_to_the_training():
    assert first_look(Listed([None, BOTH, None])) == []
    assert first_look(Listed([None, None])) == []


def test_one_name_is_no_set_of_classes(folder):
    with pytest.raises(InputError, match="classes.txt lists one class"):
        folder([0], names=("thing",))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("road", "back"), "the classes in another order than the run: it has road, back, but"),
        (("back", "street"), "other classes than the run"),
    ],
)
def test_classes_are_those_of_the_run(tmp_path, names, problem):
    palette = ((0, 0, 0), (1, 1, 1))
    save_classes(DataInfo("mine", ("back", "road"), palette), tmp_path / "classes.json")
    check_same_classes(DataInfo("yours", ("back", "road"), palette), tmp_path / "classes.json")
    check_same_classes(DataInfo("yours", names, palette), tmp_path / "none.json")
    with pytest.raises(InputError, match=problem):
        check_same_classes(DataInfo("yours", names, palette), tmp_path / "classes.json")


def test_images_of_both_splits_give_a_hint(folder):
    """The metrics of a run would be too high, and nothing would say so."""
    train = folder([BOTH] * 3)
    assert first_look(train, train) == [
        "hint: 3 of 3 evaluation images are also training images, such as "
        f"{train.photo_file(0)}: the metrics are too high"
    ]
    assert first_look(train, Listed([BOTH])) == []
