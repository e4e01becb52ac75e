"""COCO JSON: labels equal the masks that pycocotools reads from the same file."""

import numpy as np
import pytest
from PIL import Image
from tool_sets import data, only, photo, put

from jaxseg.data import open_data
from jaxseg.data.check import check_data
from jaxseg.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
SQUARE = [2, 2, 8, 2, 8, 8, 2, 8]
LATER = [5, 5, 15, 5, 15, 11, 5, 11]
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def annotation(segmentation, category=3, image=1, number=1, **more):
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation,
            "iscrowd": 0, "bbox": [0, 0, 1, 1], "area": 1} | more  # fmt: skip


def coco(root, *annotations, images=("a",), categories=CATEGORIES, name="instances.json"):
    entries = []
    for number, stem in enumerate(images, 1):
        photo(root / "images" / f"{stem}.png", seed=number)
        entries.append({"id": number, "file_name": f"{stem}.png", "width": 20, "height": 12})
    contents = {"images": entries, "annotations": annotations, "categories": categories}
    return put(root / "annotations" / name, contents)


def problems(root, **fields):
    report = check_data(data("coco", root, **({"split": "1:0"} | fields)), ("train",))
    return [f"{p.kind}: {p.text}" for p in report.problems if p.kind != "absent class"]


def test_labels_are_what_pycocotools_makes_of_the_file(tmp_path):
    pycocotools = pytest.importorskip("pycocotools.coco")
    from pycocotools import mask as masks

    rng = np.random.default_rng(0)
    blob = rng.random((12, 20)) < 0.2
    rle = masks.encode(np.asfortranarray(blob.astype(np.uint8)))
    packed = {"size": rle["size"], "counts": rle["counts"].decode()}
    plain = {"size": [12, 20], "counts": [30, 4, 206]}
    file = coco(
        tmp_path,
        annotation([SQUARE, [12, 1, 19, 1, 15.5, 9]], 3, number=1),
        annotation(packed, 7, number=2),
        annotation(plain, 3, number=3, iscrowd=1),
    )
    reader = pycocotools.COCO(str(file))
    expected = np.zeros((12, 20), np.uint8)
    for number, value in ((3, 1), (1, 1), (2, 2)):  # the crowd is drawn first, below the others
        expected[reader.annToMask(reader.anns[number]) > 0] = value
    np.testing.assert_array_equal(only("coco", tmp_path), expected)
    info = open_data(data("coco", tmp_path, split="1:0"), "train").info
    assert info.class_names == ("background", "cat", "dog")  # sorted by id


@pytest.mark.parametrize(
    ("fields", "overlapped", "empty"),
    [({}, 2, 0), ({"overlap": "size"}, 1, 0), ({"unlabelled": "ignore"}, 1, 255)],
)
def test_choices(tmp_path, fields, overlapped, empty):
    coco(tmp_path, annotation([SQUARE], 3), annotation([LATER], 7))
    label = only("coco", tmp_path, **fields)
    assert label[6, 6] == overlapped and label[0, 0] == empty


def test_classes_txt_orders_and_ignores(tmp_path):
    coco(tmp_path, annotation([SQUARE], 3), annotation([LATER], 7),
         categories=[{"id": 3, "name": "cat"}, {"id": 7, "name": "__ignore__"}])  # fmt: skip
    (tmp_path / "classes.txt").write_text("dog\nbackground\ncat\n")
    label = only("coco", tmp_path)
    assert (label[0, 0], label[3, 3], label[10, 12]) == (1, 2, 255)
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(InputError, match="no class 'background'.*unlabelled='ignore'"):
        only("coco", tmp_path)
    (tmp_path / "classes.txt").write_text("background\ndog\n")
    with pytest.raises(InputError, match="shapes of 'cat', which is not one of the 2 classes"):
        only("coco", tmp_path)


def test_a_file_for_each_split_counts_the_classes_of_both(tmp_path):
    coco(tmp_path, annotation([SQUARE], 3), categories=CATEGORIES[1:], name="instances_train.json")
    coco(tmp_path, annotation([SQUARE], 7), categories=CATEGORIES[:1], name="instances_val.json")
    config = data("coco", tmp_path)
    train, val = (open_data(config, split) for split in ("train", "eval"))
    assert train.info == val.info
    assert (train[0].label.max(), val[0].label.max()) == (1, 2)
    config.split = "8:2"
    with pytest.raises(InputError, match="has the split 'train' already"):
        open_data(config, "train")
    config.split, config.annotations = "1:0", "annotations/instances_val.json"
    assert open_data(config, "train").info.class_names == ("background", "dog")


def test_panoptic(tmp_path):
    photo(tmp_path / "images/a.png")
    png = np.zeros((12, 20, 3), np.uint8)
    png[2:5, 2:9] = (1, 2, 0)  # the segment 513
    png[6:9, 2:9] = (9, 0, 0)
    folder = tmp_path / "annotations/panoptic"
    folder.mkdir(parents=True)
    Image.fromarray(png).save(folder / "a.png")
    entry = {"image_id": 1, "file_name": "a.png", "segments_info": [
        {"id": 513, "category_id": 3}, {"id": 9, "category_id": 7}]}  # fmt: skip
    contents = {"images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 12}],
                "annotations": [entry], "categories": CATEGORIES}  # fmt: skip
    put(tmp_path / "annotations/panoptic.json", contents)
    label = only("coco", tmp_path, unlabelled="ignore")
    assert (label[0, 0], label[3, 3], label[7, 3]) == (255, 0, 1)
    entry["segments_info"].pop()
    put(tmp_path / "annotations/panoptic.json", contents)
    assert any("contains the segment 9" in text for text in problems(tmp_path))
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    assert any("the checksum" in text for text in problems(tmp_path))
    (folder / "a.png").unlink()
    assert any("There is no" in text for text in problems(tmp_path))


BAD = {
    "two points": (annotation([[1, 1, 5, 5]]), "Annotation 1 of .* has 2 point"),
    "odd": (annotation([[1, 1, 5, 5, 2]]), "odd number"),
    "far outside": (annotation([[30, 2, 40, 2, 40, 9]]), "is outside its image"),
    "nowhere": (annotation([[1, 2, float("nan"), 2, 4, 9]]), "an impossible coordinate"),
    "words": (annotation([["a", 2, 3, 2, 4, 9]]), "is malformed"),
    "a box": (annotation([]), "has a box but no outline"),
    "run lengths": (annotation({"size": [12, 20], "counts": [3, 4]}), "cover 7 pixels"),
    "no counts": (annotation({"size": [12, 20]}), "lacks 'counts'"),
    "no category": (annotation([SQUARE], 99), "the category 99"),
    "no image": (annotation([SQUARE], image=5), "belongs to the image 5, which"),
    "not a mapping": (3, "is malformed"),
}


def test_bad_annotations_are_named(tmp_path):
    for entry, text in BAD.values():
        coco(tmp_path, annotation([SQUARE]), entry)
        (found,) = problems(tmp_path)
        assert found.partition(": ")[0] in ("annotation", "no image")
        with pytest.raises(InputError, match=text):
            only("coco", tmp_path)


def test_a_polygon_that_crosses_itself_or_the_edge_is_drawn(tmp_path):
    coco(tmp_path, annotation([[-5, -5, 10, 10, 10, -5, -5, 10]]))
    assert not problems(tmp_path)
    assert 0 < (only("coco", tmp_path) == 1).sum() < 240


def test_image_ids_and_files(tmp_path):
    file = coco(tmp_path, annotation([SQUARE]), images=("a", "b", "c"))
    file.write_text(file.read_text().replace('"id": 2', '"id": 1'))
    (tmp_path / "images/c.png").unlink()
    found = problems(tmp_path)
    assert any("image id 1 twice: for 'a' and 'b.png'" in text for text in found)
    assert any("c.png, which does not exist" in text for text in found), found
    assert len(found) == 2


def test_images_without_annotations_are_background_or_an_error(tmp_path):
    coco(tmp_path, annotation([SQUARE]), images=("a", "b"))
    config = data("coco", tmp_path, split="1:0")
    source = open_data(config, "train")
    assert len(source) == 2 and not source[1].label.any()
    assert any("1 image(s)" in note for note in source.notes)
    (found,) = problems(tmp_path, unannotated="error")
    assert found.startswith("unannotated:") and "b.png" in found


def test_a_photo_of_another_size_is_found(tmp_path):
    coco(tmp_path, annotation([SQUARE]))
    photo(tmp_path / "images/a.png", width=40, height=24)
    (found,) = problems(tmp_path)
    assert "is 40 wide and 24 high, but its mask" in found


def test_files_of_other_formats(tmp_path):
    cases = [
        ({"shapes": [], "imagePath": "a.png"}, "LabelMe JSON, not COCO.*name='labelme'"),
        ({"shapes": [], "images": [], "annotations": [], "categories": []}, "at once"),
        ([{"data": {}, "annotations": []}], "Label Studio JSON, not"),
        ({"images": []}, "is not COCO JSON"),
        ("{", "cannot be read as JSON"),
        ("[" * 100000, "cannot be read as JSON"),
    ]
    for contents, text in cases:
        photo(tmp_path / "images/a.png")
        put(tmp_path / "a.json", contents)
        with pytest.raises(InputError, match=text):
            only("coco", tmp_path)


def test_which_file_is_meant(tmp_path):
    with pytest.raises(InputError, match="no annotation file"):
        only("coco", tmp_path)
    put(tmp_path / "a.json", "{}")
    put(tmp_path / "b.json", "{}")
    with pytest.raises(InputError, match="several annotation files: a.json, b.json"):
        only("coco", tmp_path)
    with pytest.raises(InputError, match="c.json, which does not exist"):
        only("coco", tmp_path, annotations="c.json")


def test_objects_for_cut_outs(tmp_path):
    coco(tmp_path, annotation([SQUARE]), annotation([LATER], 7))
    source = open_data(data("coco", tmp_path, split="1:0"), "train")
    numbers = source.objects(0)
    assert (numbers[3, 3], numbers[10, 12], numbers[0, 0]) == (1, 2, 0)


def test_ids_as_texts_and_names_in_other_capitals(tmp_path):
    coco(tmp_path, annotation([SQUARE], "3", "1"))
    (tmp_path / "images/a.png").rename(tmp_path / "images/a.PNG")
    assert only("coco", tmp_path)[4, 4] == 1


def test_the_size_of_an_image_that_was_resized_after_labelling(tmp_path):
    coco(tmp_path, annotation([SQUARE]))
    photo(tmp_path / "images/a.png", width=40, height=24)
    with pytest.raises(InputError, match="40 wide and 24 high, .* Resize the image to the size"):
        only("coco", tmp_path)
