"""The crops and their labels in DeconvNet's two stages."""

import pickle

import numpy as np
import pytest
import scipy.io

from jaxseg.config import default_config
from jaxseg.data import Augment, Scenes, open_data, train_batches
from jaxseg.data.boxes_file import read_boxes
from jaxseg.data.crops import Crops, box_crops, boxes_about_objects, object_crops
from jaxseg.errors import InputError


@pytest.fixture
def scene(devkit):
    """20×30 pixels: object 1, class 5, with a void border; next to it object 2, class 7."""
    label = np.zeros((20, 30), np.uint8)
    label[4:14, 3:13], label[5:13, 4:12] = 255, 5
    label[8:18, 18:28] = 7
    numbers = np.zeros((20, 30), np.uint8)
    numbers[4:14, 3:13], numbers[5:13, 4:12] = 255, 1
    numbers[8:18, 18:28] = 2
    y, x = np.mgrid[:20, :30]
    (devkit.root / "SegmentationObject").mkdir()
    for name, values in (("a", numbers), ("b", np.where(numbers == 2, 0, numbers))):
        devkit.photo(name, np.dstack([y, x, 0 * y + 77]).astype(np.uint8), ".png")
        devkit.mask(name, label if name == "a" else np.where(label == 7, 0, label))
        devkit.mask("x", values).rename(devkit.root / f"SegmentationObject/{name}.png")
    devkit.list("train", ["a", "b"])
    return devkit


def test_one_object_at_a_time(scene):
    source = scene.open()
    crops = Crops(source, object_crops(source))
    assert len(crops) == 3  # two in a, one in b
    image, label, name = crops[0]
    assert name == "a 4,3,14,13"  # 8×8 pixels, enlarged by 0.8 pixels on each side
    assert crops.size(0) == label.shape == image.shape[:2] == (10, 10)
    assert (image[0, 0].tolist(), image[-1, -1].tolist()) == ([4, 3, 77], [13, 12, 77])
    assert (label[1:9, 1:9] == 5).all() and (label == 5).sum() == 64
    assert (label == 255).sum() == 36  # the void border stays
    _, label, name = crops[1]
    assert name == "a 7,17,19,29" and set(np.unique(label)) == {0, 7}


def test_other_objects_become_background(scene):
    numbers = np.ones((20, 30), np.uint8)
    numbers[8:18, 18:28] = 2
    scene.mask("x", numbers).rename(scene.root / "SegmentationObject/a.png")
    scene.mask("a", np.where(numbers == 1, 5, 7).astype(np.uint8))
    source = scene.open()
    crops = Crops(source, object_crops(source))
    _, label, name = crops[0]
    assert name == "a -2,-3,22,33"
    inside = label[2:22, 3:33]
    np.testing.assert_array_equal(inside, np.where(numbers == 1, 5, 0))
    assert (label[:2] == 255).all() and (label[:, 33:] == 255).all()  # outside the photo
    assert not crops[0].image[:2].any() and not crops[0].image[:, :3].any()  # black there


def test_boxes_with_objects_and_rare_classes_repeated(scene):
    text = "a 0 0 3 20\na 2 3 14 15\nb 2 3 14 15\na 4 5 6 8\nb 5 6 11 12\na 18 8 28 18\nc 1 1 2 2\n"
    boxes = read_boxes(scene.text("boxes.txt", text), {"a": (20, 30), "b": (20, 30)}.get)
    assert boxes["a"][0] == (0, 0, 20, 3)
    source = scene.open()
    crops = box_crops(source, boxes)
    # class 5 is in four boxes, class 7 in one: the median is 2.5; the first box holds neither
    assert [c.example for c in crops] == [0, 0, 0, 0, 1, 1]
    assert [c.box for c in crops].count((7, 17, 19, 29)) == 2
    crop = Crops(source, crops)[0]
    assert crop.name == "a 2,1,16,15" and {0, 5, 255} == set(np.unique(crop.label))


def test_configs_of_both_stages(scene):
    config = default_config().data
    config.update({"name": "voc_folder", "root": str(scene.root), "crops": "objects"})
    source = open_data(config, "train")
    assert len(source) == 3 and len(pickle.loads(pickle.dumps(source))) == 3
    recipe = Augment(resize=(25, 25), crop=(22, 22), flip=0.5)
    batches = train_batches(source, seed=0, batch_size=4, augment=recipe)
    assert next(batches).image.shape == (4, 22, 22, 3)
    batches.close()
    scene.list("val", ["a"])
    assert len(open_data(config, "eval")) == 1  # scored on whole photographs
    config.crops = "boxes"
    config.boxes = str(scene.text("boxes.txt", "a 2 3 14 15\n"))
    assert len(open_data(config, "train")) == 1
    config.boxes = str(scene.text("boxes.txt", "a 0 0 2 2\n"))
    with pytest.raises(InputError, match="no crops can be made"):
        open_data(config, "train")


def test_missing_instance_masks_are_named(scene):
    (scene.root / "SegmentationObject/b.png").unlink()
    with pytest.raises(InputError, match="SegmentationObject/b.png cannot be decoded"):
        object_crops(scene.open())
    scene.mask("x", np.zeros((5, 5), np.uint8)).rename(scene.root / "SegmentationObject/b.png")
    with pytest.raises(InputError, match="Instance mask .*b.png is 5 wide and 5 high, but its"):
        object_crops(scene.open())


def test_objects_of_sbd(scene):
    """If the classes come from SBD's file, the objects come from SBD's instance file."""
    sbd = scene.root / "benchmark_RELEASE/dataset"
    numbers = np.zeros((20, 30), np.uint8)
    numbers[2:6, 1:9], numbers[10:, 20:] = 1, 2
    for folder, key, values in (("cls", "GTcls", 3 * numbers), ("inst", "GTinst", numbers)):
        (sbd / folder).mkdir(parents=True)
        scipy.io.savemat(sbd / folder / "b.mat", {key: {"Segmentation": values}})
    (sbd / "train.txt").write_text("b\n")
    config = default_config().data
    config.update({"name": "voc2012", "root": str(scene.root), "train_split": "sbd_train"})
    config.crops = "objects"
    source = open_data(config, "train")
    assert [name.split()[1] for name in map(source.name, range(2))] == ["2,0,6,10", "9,19,21,31"]
    assert set(np.unique(source[1].label)) == {0, 6, 255}  # 255 outside the photo


def test_scenes_have_objects_and_boxes_about_them():
    source = Scenes(1, 12, (48, 64))
    objects = [source.objects(i) for i in range(len(source))]
    for i, numbers in enumerate(objects):
        label = source[i].label
        assert numbers.dtype == np.uint8 and 2 <= numbers.max() <= 6
        for n in np.unique(numbers[numbers > 0]):
            assert len(set(np.unique(label[numbers == n])) - {255}) <= 1  # one class each
        assert not numbers[label == 0].any() and numbers[(label > 0) & (label < 255)].all()
    crops = object_crops(source)
    assert len(crops) == sum(len(np.unique(n)) - 1 for n in objects)
    for index in (3, 7):
        of_this = [c for c in crops if c.example == index]
        boxes = boxes_about_objects(source, seed=5)[source.name(index)]
        assert boxes != boxes_about_objects(source, seed=6)[source.name(index)]
        for crop, (top, left, bottom, right) in zip(of_this, boxes, strict=True):
            rows, columns = np.nonzero(objects[index] == crop.instance)
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert abs(top - rows.min()) <= 0.2 * height + 1
            assert abs(left - columns.min()) <= 0.2 * width + 1
            assert abs(bottom - 1 - rows.max()) <= 0.2 * height + 1
            assert abs(right - 1 - columns.max()) <= 0.2 * width + 1


def test_both_stages_on_scenes():
    config = default_config().data
    config.update({"name": "scenes", "scenes_train": 6, "scenes_size": (48, 48)})
    whole = open_data(config, "train")
    config.crops = "objects"
    stage_1 = open_data(config, "train", seed=2)
    config.crops = "boxes"
    stage_2 = open_data(config, "train", seed=2)
    assert len(whole) == 6 < len(stage_1) <= len(stage_2)
    shown = [len(set(np.unique(source[i].label)) - {0, 255}) for source in (stage_1, stage_2)
             for i in range(len(stage_1))]  # fmt: skip
    assert max(shown[: len(stage_1)]) == 1 < max(shown[len(stage_1) :])
    assert len(open_data(config, "eval")) == 64
