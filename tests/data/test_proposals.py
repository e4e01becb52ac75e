"""Boxes for stage 2 and for inference: from a file, proposed, and kept on disk."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxseg.config import default_config
from jaxseg.data import open_data, proposals
from jaxseg.data.boxes_file import read_boxes, read_boxes_of_all
from jaxseg.data.disk_cache import cached, digest
from jaxseg.errors import InputError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jaxseg"


@pytest.fixture
def searches(monkeypatch):
    """Replaces the search by one that needs no OpenCV: the left half; lists searched images."""
    calls = []

    def search(image):
        calls.append(image)
        return np.array([[0, 0, image.shape[0], image.shape[1] // 2]], np.int32)

    monkeypatch.setattr(proposals, "search", search)
    return calls


@pytest.fixture
def voc(devkit):
    """Two photographs of 12×20, each with an object of class 5 in its left half."""
    (devkit.root / "SegmentationObject").mkdir()
    label = np.zeros((12, 20), np.uint8)
    label[3:8, 2:9] = 5
    for index, name in enumerate("ab"):
        devkit.photo(name, np.full((12, 20, 3), 40 * index, np.uint8), ".png")
        devkit.mask("x", label // 5).rename(devkit.root / f"SegmentationObject/{name}.png")
        devkit.mask(name, label)
    devkit.list("train", ["a", "b"])
    return devkit


@pytest.fixture
def config(voc):
    config = default_config().data
    config.update({"name": "voc_folder", "root": str(voc.root), "crops": "boxes"})
    return config


@pytest.mark.parametrize(
    "line, problem",
    [
        ("a 1 2 3", "is 'a 1 2 3', not a name with four whole numbers"),
        ("1 2 3 4", "not a name with four whole numbers"),
        ("a 1 2 3 4.5", "not a name with four whole numbers"),
        ("", "is '', not a name"),
        ("a 5 5 5 9", "a box without pixels"),
        ("a 5 9 7 9", "a box without pixels"),
        ("a 7 5 5 9", "a box without pixels"),
        ("a 10 2 21 4", "but the image is 20 wide and 12 high"),
        ("a 2 10 4 13", "but the image is 20 wide and 12 high"),
        ("a -1 0 5 5", "but the image is 20 wide and 12 high"),
        ("a 0 -1 5 5", "but the image is 20 wide and 12 high"),
    ],
)
def test_a_bad_line_is_named(voc, line, problem):
    path = voc.text("boxes.txt", f"a 0 0 20 12\n{line}\na 0 0 1 1\n")
    with pytest.raises(InputError, match="^Line 2 of .*boxes.txt is .*") as error:
        read_boxes(path, {"a": (12, 20)}.get)
    assert problem in error.value.problem and "NAME left top right bottom" in error.value.remedy


def test_boxes_of_images_elsewhere_are_left_out(voc):
    path = voc.text("boxes.txt", "a 0 1 20 12\nold photo 0 0 9000 9000\na 2 3 4 5\n")
    assert read_boxes(path, {"a": (12, 20)}.get) == {"a": [(1, 0, 12, 20), (3, 2, 5, 4)]}


def test_an_image_that_the_file_has_no_box_of(voc):
    path = voc.text("boxes.txt", "a 0 1 20 12\nB 2 3 4 5\na 2 3 4 5\n")
    found = read_boxes_of_all(path, {"a": (12, 20)})
    assert found == {"a": [(1, 0, 12, 20), (3, 2, 5, 4)]}
    sizes = {"a": (12, 20), "b": (12, 20), "c": (12, 20)}
    problem = "has no box for the image 'b' .nor of 1 others.; its line 1 is 'a 0 1 20 12'."
    with pytest.raises(InputError, match=problem):
        read_boxes_of_all(path, sizes)
    with pytest.raises(InputError, match="has no box for the image 'a': it is empty."):
        read_boxes_of_all(voc.text("none.txt", "\n"), {"a": (12, 20)})


def test_boxes_outside_their_photograph_are_refused_when_a_run_opens_its_data(voc, config):
    config.boxes = str(voc.text("boxes.txt", "a 0 0 20 12\nb 4 4 21 9\n"))
    with pytest.raises(InputError, match="Line 2 of .*boxes.txt is 'b 4 4 21 9', but the image"):
        open_data(config, "train")


def test_without_a_file_boxes_are_proposed_once(voc, config, searches, home):
    source = open_data(config, "train")
    assert [source.name(i) for i in range(len(source))] == ["a -1,-1,13,11", "b -1,-1,13,11"]
    assert len(searches) == 2
    assert open_data(config, "train").name(1) == "b -1,-1,13,11" and len(searches) == 2
    # With another mask the crops change; the cached boxes are found by the photographs.
    voc.mask("b", np.zeros((12, 20), np.uint8))
    assert len(open_data(config, "train")) == 1 and len(searches) == 2
    voc.photo("a", np.full((12, 20, 3), 9, np.uint8), ".png")
    open_data(config, "train")
    assert len(searches) == 3
    assert not list(home.rglob("*.unfinished"))


def test_stage_1_reads_the_objects_once(voc, config, monkeypatch):
    config.crops = "objects"
    first = open_data(config, "train")
    monkeypatch.setattr("jaxseg.data.find_crops.object_crops", lambda _: pytest.fail("again"))
    second = open_data(config, "train")
    assert [second.name(i) for i in range(2)] == [first.name(i) for i in range(2)]
    assert set(np.unique(second[0].label)) == {0, 5}
    time = (voc.root / "SegmentationObject/b.png").stat().st_mtime + 1
    os.utime(voc.root / "SegmentationObject/b.png", (time, time))
    with pytest.raises(pytest.fail.Exception, match="again"):
        open_data(config, "train")


def test_a_changed_file_of_boxes_is_read_again(voc, config):
    config.boxes = str(voc.text("boxes.txt", "a 2 2 10 10\n"))
    assert len(open_data(config, "train")) == 1
    voc.text("boxes.txt", "a 2 2 10 10\nb 2 2 10 10\n")
    assert len(open_data(config, "train")) == 2


def test_cache_survives_damage_and_a_home_that_cannot_be_written(home, monkeypatch, tmp_path):
    key = digest("x")
    assert cached("k", key, lambda: np.arange(3)).tolist() == [0, 1, 2]
    assert cached("k", key, lambda: pytest.fail("again")).tolist() == [0, 1, 2]
    for data in (b"", b"junk", (home / f"k/{key}.npy").read_bytes()[:-4]):
        (home / f"k/{key}.npy").write_bytes(data)
        assert cached("k", key, lambda: np.arange(4)).tolist() == [0, 1, 2, 3]
        assert cached("k", key, lambda: pytest.fail("again")).tolist() == [0, 1, 2, 3]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cached("k", key, lambda: np.arange(2)).tolist() == [0, 1]


def test_digest_tells_shapes_and_types_apart():
    same = np.zeros((2, 3), np.uint8)
    others = same.T, same.astype(np.int8), np.ones((2, 3), np.uint8), same.ravel()
    assert len({digest(x) for x in (same, *others)}) == 5
    assert digest("a", "bc") != digest("ab", "c")


def test_order_of_proposals():
    """Largest first; boxes that overlap an earlier one by more than half come after all others."""
    boxes = np.array(
        [[0, 0, 4, 4], [0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 4, 4], [5, 5, 8, 8], [0, 0, 8, 8]],
        np.int32,
    )
    expected = [[0, 0, 10, 10], [0, 0, 4, 4], [5, 5, 8, 8], [0, 0, 10, 9], [0, 0, 8, 8]]
    for order in (range(6), range(5, -1, -1), [3, 1, 5, 0, 4, 2]):
        assert proposals.ranked(boxes[list(order)]).tolist() == expected
    assert proposals.ranked(np.empty((0, 4), np.int32)).shape == (0, 4)


def test_without_opencv_the_extra_is_named(monkeypatch):
    def missing():
        raise InputError("cv2 is not there.", "Get it.")

    for stub in (missing, lambda: np):  # without the contributed modules there is no ximgproc
        monkeypatch.setattr(proposals, "opencv", stub)
        with pytest.raises(InputError, match=r"Object proposals need OpenCV.*jaxseg\[opencv\]"):
            proposals.propose(np.zeros((9, 9, 3), np.uint8))


@pytest.fixture
def contrib():
    cv2 = pytest.importorskip("cv2", reason="needs pip install '.[opencv]'")
    return getattr(cv2, "ximgproc", None) or pytest.skip("OpenCV without its contributed modules")


def test_selective_search_finds_what_is_there(contrib):
    image = np.full((90, 120, 3), 90, np.uint8)
    image[20:70, 30:60], image[10:40, 80:110] = (200, 40, 40), (40, 60, 210)
    image += np.random.default_rng(0).integers(0, 6, image.shape, np.uint8)
    for scaled in (image, image.repeat(6, 0).repeat(6, 1)):  # the second is 720 wide
        by, found = len(scaled) // 90, np.array(proposals.propose(scaled))
        assert (found[:, :2] >= 0).all() and (found[:, 2:] <= scaled.shape[:2]).all()
        assert (found[:, :2] < found[:, 2:]).all()
        for box in ((20, 30, 70, 60), (10, 80, 40, 110)):
            assert proposals.overlap(np.array(box) * by, found).max() > 0.85


def test_proposals_are_the_same_each_time(contrib, home):
    image = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
    image = np.asarray(Image.fromarray(image).resize((90, 60)))
    first = proposals.propose(image)
    (file,) = (home / "proposals").iterdir()
    file.unlink()
    assert proposals.propose(image) == first and len(set(first)) == len(first) > 10


def test_lines_of_pixels_are_one_proposal(contrib):
    for size in ((1, 1), (1, 30), (2, 30), (3, 3), (2000, 3)):
        for top, left, bottom, right in proposals.propose(np.zeros((*size, 3), np.uint8)):
            assert 0 <= top < bottom <= size[0] and 0 <= left < right <= size[1]
