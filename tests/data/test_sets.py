"""The named data sets, on real samples and on small folders with the same layout."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from PIL import Image

from jaxseg.config import default_config
from jaxseg.data import list_data, open_data
from jaxseg.data.datasets import ade20k, camvid, cityscapes, pascal_context, voc2012
from jaxseg.data.matlab import read_mat_labels
from jaxseg.errors import InputError


def data(name, root, **fields):
    config = default_config().data
    config.update({"name": name, "root": str(root), **fields})
    return config


def save(path: Path, pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def photo(path: Path, size=(5, 7)) -> Path:
    return save(path, np.random.default_rng(0).integers(0, 256, (*size, 3)))


def sbd_mat(path: Path, labels) -> Path:
    """Writes a label file like SBD's: a struct with a sparse map of boundaries per class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.asarray(labels, np.uint8)
    boundaries = np.empty((20, 1), object)
    for i in range(20):
        boundaries[i, 0] = scipy.sparse.csc_matrix(labels == i + 1, dtype=float)
    content = {"Boundaries": boundaries, "Segmentation": labels, "CategoriesPresent": [[3]]}
    scipy.io.savemat(path, {"GTcls": content}, do_compression=True)
    return path


def ids(source) -> list[str]:
    return [source.name(i) for i in range(len(source))]


@pytest.mark.parametrize("module, classes", [(ade20k, 150), (cityscapes, 19), (camvid, 11)])
def test_every_class_has_a_name_and_a_value(module, classes):
    assert module.INFO.num_classes == len(set(module.INFO.class_names)) == classes
    assert set(module.VALUES.values()) == {*range(classes), 255}
    assert module.VALUES[255] == 255


# ---- ADE20K


def test_ade20k_sample(shared_data):
    root = shared_data / "formats/ade20k"
    source = open_data(data("ade20k", root), "eval")
    assert ids(source) == [f"ADE_val_0000000{i}" for i in (1, 2, 3)]
    assert [source.size(i) for i in range(3)] == [source[i].label.shape for i in range(3)]
    for i, pair in enumerate(source.pairs):
        stored = np.asarray(Image.open(pair.mask)).astype(int)
        np.testing.assert_array_equal(source[i].label, np.where(stored == 0, 255, stored - 1))
    names = [line.split("\t")[4] for line in
             (root / "objectInfo150.txt").read_text().splitlines()[1:]]  # fmt: skip
    assert [n.split(",")[0].strip() for n in names] == list(source.info.class_names)
    present = {source.info.class_names[k] for k in np.unique(source[0].label) if k != 255}
    assert {"wall", "floor"} <= present or {"sky", "building"} <= present
    by_its_own_name = open_data(data("ade20k", root, eval_split="validation"), "eval")
    assert by_its_own_name.pairs == source.pairs


def test_ade20k_problems(tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    for name in ("a", "b"):
        photo(root / f"images/training/{name}.jpg")
    save(root / "annotations/training/a.png", [[0, 150, 1, 1, 1, 1, 1]] * 5)
    with pytest.raises(InputError, match="b.jpg has no mask. Add a mask"):
        open_data(data("ade20k", root), "train")
    save(root / "annotations/training/b.png", [[151] * 7] * 5)
    source = open_data(data("ade20k", root), "train")
    assert source[0].label[0].tolist() == [255, 149, 0, 0, 0, 0, 0]
    with pytest.raises(
        InputError, match="b.png contains the value 151; allowed values are 0..150, 255, of wh"
    ):
        source[1]
    with pytest.raises(InputError, match="no split 'trian'. Did you mean 'train'"):
        open_data(data("ade20k", root, train_split="trian"), "train")
    with pytest.raises(InputError, match="has no subfolder images. Download ADEChallengeData"):
        open_data(data("ade20k", tmp_path), "train")


# ---- Cityscapes


def test_cityscapes_sample(shared_data):
    source = open_data(data("cityscapes", shared_data / "formats/cityscapes"), "eval")
    assert ids(source) == ["frankfurt_000000_000294"]
    image, label, _ = source[0]
    assert image.shape == (128, 256, 3)
    published = source.pairs[0].mask.with_name("frankfurt_000000_000294_gtFine_labelTrainIds.png")
    # The sample's two label files were shrunk separately: 0.23 % of pixels differ.
    assert (label != np.asarray(Image.open(published))).mean() < 0.003


def test_cityscapes_tree(tmp_path):
    for city in ("ulm", "aachen"):
        photo(tmp_path / f"leftImg8bit/train/{city}/{city}_1_leftImg8bit.png", (1, 36))
        for labels, split in (("gtFine", "train"), ("gtCoarse", "train_extra")):
            name = tmp_path / f"{labels}/{split}/{city}/{city}_1_{labels}"
            save(Path(f"{name}_labelIds.png"), [[*range(34), 255, 7]])
            save(Path(f"{name}_instanceIds.png"), [[0] * 36])
    source = open_data(data("cityscapes", tmp_path), "train")
    assert ids(source) == ["aachen_1", "ulm_1"]
    label = source[0].label[0]
    trained = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11,
               25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}  # fmt: skip
    assert label[:34].tolist() == [trained.get(i, 255) for i in range(34)]
    assert label[34:].tolist() == [255, 0]
    photo(tmp_path / "leftImg8bit/train_extra/ulm/ulm_1_leftImg8bit.png", (1, 36))
    with pytest.raises(InputError, match="aachen_1_gtCoarse_labelIds.png has no photo"):
        open_data(data("cityscapes", tmp_path, train_split="train_extra"), "train")
    with pytest.raises(InputError, match="folder has no gtFine. Download leftImg8bit_trainvaltest"):
        shutil.rmtree(tmp_path / "gtFine")
        open_data(data("cityscapes", tmp_path), "train")


# ---- VOC 2012 and SBD


@pytest.fixture
def voc(tmp_path) -> Path:
    """VOC 2012 and SBD; an id's first letter is its split; VOC's masks hold 1, SBD's 2."""
    root, sbd = tmp_path / "VOCdevkit/VOC2012", tmp_path / "benchmark_RELEASE/dataset"
    lists = {
        "train": ["t0", "t1"],
        "val": ["v0", "v1", "v2"],
        "trainval": ["t0", "t1", "v0", "v1", "v2"],
    }
    sbd_lists = {"train": ["t0", "v1", "s0", "s1"], "val": ["v0", "s2"]}
    for name in ("t0", "t1", "v0", "v1", "v2", "s0", "s1", "s2"):
        photo(root / f"JPEGImages/{name}.jpg")
    for name in lists["trainval"]:
        save(root / f"SegmentationClass/{name}.png", np.ones((5, 7)))
    for name in sum(sbd_lists.values(), []):
        sbd_mat(sbd / f"cls/{name}.mat", np.full((5, 7), 2))
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for folder, splits in ((root / "ImageSets/Segmentation", lists), (sbd, sbd_lists)):
        for split, names in splits.items():
            (folder / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.mark.parametrize(
    "split, expected",
    [
        ("train", {"t0": 1, "t1": 1}),
        ("val", {"v0": 1, "v1": 1, "v2": 1}),
        ("sbd_train", {"t0": 2, "v1": 2, "s0": 2, "s1": 2}),
        ("sbd_val", {"v0": 2, "s2": 2}),
        ("sbd", {"t0": 2, "v1": 2, "s0": 2, "s1": 2, "v0": 2, "s2": 2}),
        ("train_aug", {"t0": 1, "t1": 1, "s0": 2, "s1": 2, "s2": 2}),
    ],
)
def test_voc2012_splits(voc, split, expected):
    source = open_data(data("voc2012", voc, train_split=split), "train")
    assert ids(source) == list(expected)
    for example, value in zip(source, expected.values(), strict=True):
        assert (example.label == value).all() and example.label.dtype == np.uint8


def test_seg11valid(voc):
    with pytest.raises(
        InputError, match="the list of VOC 2011.*Unpack VOCtrainval_25-May-2011.tar"
    ):
        open_data(data("voc2012", voc, eval_split="seg11valid"), "eval")
    older = voc.parent / "VOC2011/ImageSets/Segmentation/val.txt"
    older.parent.mkdir(parents=True)
    older.write_text("v0\nv1\n")
    assert ids(open_data(data("voc2012", voc, eval_split="seg11valid"), "eval")) == ["v0"]
    (voc / "ImageSets/Segmentation/seg11valid.txt").write_text("v1\nv2\n")
    assert ids(open_data(data("voc2012", voc, eval_split="seg11valid"), "eval")) == ["v1", "v2"]


def test_sbd_in_another_folder_or_missing(voc, tmp_path):
    moved = (tmp_path / "benchmark_RELEASE/dataset").rename(tmp_path / "sbd")
    with pytest.raises(InputError, match="'train_aug' of VOC 2012 needs SBD.*sbd_root"):
        open_data(data("voc2012", voc, train_split="train_aug"), "train")
    assert len(open_data(data("voc2012", voc, train_split="train"), "train")) == 2
    c = data("voc2012", voc, train_split="train_aug", sbd_root=str(moved))
    assert len(open_data(c, "train")) == 5
    (moved / "cls/s1.mat").unlink()
    with pytest.raises(InputError, match="There is no .*s1.png, which .*train_aug.*made from"):
        open_data(c, "train")


def test_voc2012_sample(shared_data):
    source = open_data(data("voc2012", shared_data / "voc2012_sample"), "eval")
    assert source.info.class_names[15] == "person" and source.info.splits["train_aug"] == 10582
    assert set(np.unique(source[0].label)) <= {*range(21), 255}


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_damaged_mat_files_are_named(tmp_path, kept):
    path = sbd_mat(tmp_path / "a.mat", np.ones((40, 50)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(InputError, match="a.mat (cannot be read|contains no label map)"):
        read_mat_labels(path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (5, 7), (40, 50)])
def test_mat_files_are_read_as_scipy_reads_them(tmp_path, shape, compressed):
    rng = np.random.default_rng(0)
    for dtype, most in ((np.uint8, 21), (np.uint16, 460), (np.uint16, 3)):
        labels = rng.integers(0, most, shape).astype(dtype)
        content = {"other": [[1.5]], "LabelMap": labels, "text": "x"}
        scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
        np.testing.assert_array_equal(read_mat_labels(tmp_path / "a.mat"), labels)
    labels = rng.integers(0, 21, shape).astype(np.uint8)
    got = read_mat_labels(sbd_mat(tmp_path / "b.mat", labels))
    np.testing.assert_array_equal(got, labels)
    assert got.dtype == np.uint8


@pytest.mark.parametrize("content", [{"x": [[1]]}, {"GTcls": [[1]]}, {"LabelMap": [[1.5]]}])
def test_other_mat_files_are_refused(tmp_path, content):
    scipy.io.savemat(tmp_path / "a.mat", content)
    with pytest.raises(InputError, match="a.mat contains no label map"):
        read_mat_labels(tmp_path / "a.mat")


# ---- PASCAL-Context


@pytest.mark.parametrize("background", [False, True])
def test_pascal_context(tmp_path, background):
    assert len(pascal_context.CLASSES) == len(set(pascal_context.CLASSES)) == 59
    root = tmp_path / "VOC2010"
    photo(root / "JPEGImages/a.jpg", (2, 3))
    names = {i + 1: f"rare{i}" for i in range(459)}
    names |= {2: "aeroplane", 105: "diningtable", 440: "wood", 30: "bedcloth", 60: "clothes"}
    rest = [n for n in pascal_context.CLASSES
            if n not in ("aeroplane", "table", "wood", "bedclothes", "cloth")]  # fmt: skip
    names |= {200 + i: name for i, name in enumerate(rest)}
    (root / "trainval").mkdir()
    (root / "labels.txt").write_text("".join(f"{k}: {v}\n" for k, v in sorted(names.items())))
    scipy.io.savemat(
        root / "trainval/a.mat", {"LabelMap": np.array([[2, 105, 440], [30, 60, 7]], np.uint16)}
    )
    lists = root / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    source = open_data(data(f"pascal_context{59 + background}", root), "train")
    first = int(background)
    expected = [[n + first for n in (0, 10, 58)], [n + first for n in (51, 27)]]
    label = source[0].label
    assert label[0].tolist() == expected[0] and label[1, :2].tolist() == expected[1]
    assert label[1, 2] == (0 if background else 255)
    assert source.info.class_names[first] == "aeroplane"
    assert source.info.palette[first] == (128, 0, 0)  # as in VOC, with and without background
    (root / "labels.txt").write_text("2: aeroplane\n")
    with pytest.raises(InputError, match="does not contain 'bicycle'"):
        open_data(data("pascal_context59", root), "train")


# ---- CamVid


def test_camvid_as_segnet_ships_it(tmp_path):
    photo(tmp_path / "train/0001TP_006690.png", (1, 13))
    save(tmp_path / "trainannot/0001TP_006690.png", [[*range(12), 255]])
    source = open_data(data("camvid", tmp_path), "train")
    assert source[0].label[0].tolist() == [*range(11), 255, 255]
    with pytest.raises(InputError, match="no split .*val. Did you mean 'val'"):
        open_data(data("camvid", tmp_path), "eval")


def test_camvid_in_voc_layout_without_class_names(tmp_path):
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(tmp_path / "JPEGImages" / "a.jpg")
    Image.new("L", (6, 4), 10).save(tmp_path / "SegmentationClass" / "a.png")
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    source = open_data(data("camvid", tmp_path), "train")
    assert source.info == camvid.INFO
    assert (source[0].label == 10).all()
    Image.new("L", (6, 4), 11).save(tmp_path / "SegmentationClass" / "a.png")  # unlabelled
    assert (open_data(data("camvid", tmp_path), "train")[0].label == 255).all()
    (tmp_path / "classes.txt").write_text("\n".join(f"class {i}" for i in range(12)))  # its own
    source = open_data(data("camvid", tmp_path), "train")
    assert source.info.num_classes == 12 and (source[0].label == 11).all()


def test_camvid_in_voc_layout(shared_data):
    source = open_data(data("camvid", shared_data / "camvid"), "train")
    assert len(source) == source.info.splits.get("train", 367) == 367
    assert (source.info.class_names, source.info.palette) == (
        (camvid.INFO.class_names, camvid.INFO.palette)
    )


# ---- a user's own folder


def own(tmp_path, split="train/") -> Path:
    root = tmp_path / "mine"
    for i, suffix in enumerate((".jpg", ".PNG", ".webp")):
        photo(root / f"images/{split}p{i}{suffix}")
        save(root / f"masks/{split}p{i}.png", np.full((5, 7), i))
    (root / "classes.txt").write_text("ground\ncat\ndog\n")
    return root


def test_own_folder_with_split_folders(tmp_path):
    root = own(tmp_path)
    source = open_data(data("folder", root), "train")
    assert [(e.name, e.label.max()) for e in source] == [("p0", 0), ("p1", 1), ("p2", 2)]
    assert (source.info.name, source.info.class_names) == ("mine", ("ground", "cat", "dog"))
    with pytest.raises(InputError, match="no list .*val.txt and no folder"):
        open_data(data("folder", root), "eval")


def test_own_folder_with_lists(tmp_path):
    root = own(tmp_path, split="")
    (root / "val.txt").write_text("p2\np0\n")
    (root / "palette.txt").write_text("1 2 3 ground\n4 5 6 cat\n7 8 9 dog\n")
    source = open_data(data("folder", root), "eval")
    assert ids(source) == ["p2", "p0"]
    assert source.info.palette[2] == (7, 8, 9)


def test_own_folder_names_what_is_missing(tmp_path):
    root = own(tmp_path)
    photo(root / "images/train/p1.jpeg")
    photo(root / "images/train/.p9.jpg")  # a hidden file, as some systems leave them
    save(root / "masks/train/q.png", np.zeros((5, 7)))
    listing = list_data(data("folder", root), "train")
    assert len(listing.pairs) == 3
    assert [(p.kind, Path(p.file).name) for p in listing.problems] == [
        ("duplicate", "p1.jpeg"),
        ("unpaired", "q.png"),
    ]
    with pytest.raises(InputError, match="p1.jpeg is a second photo for 'p1', .* p1.PNG"):
        open_data(data("folder", root), "train")
    (root / "classes.txt").unlink()
    with pytest.raises(InputError, match="no .*classes.txt. The folder must contain images/SPLIT"):
        open_data(data("folder", root), "train")


def test_what_masks_may_hold(tmp_path):
    root = own(tmp_path)
    save(root / "masks/train/p0.png", [[0, 1, 2, 3, 255, 0, 0]] * 5)
    read = lambda **fields: open_data(data("folder", root, **fields), "train")[0].label[0]  # noqa: E731
    with pytest.raises(InputError, match="p0.png contains the value 3.*mask_values='zero_is_void'"):
        read()
    assert read(mask_values="zero_is_void").tolist() == [255, 0, 1, 2, 255, 255, 255]
    with pytest.raises(InputError, match="'binary', but 'mine' has 3 classes"):
        read(mask_values="binary")
    (root / "classes.txt").write_text("ground\nroad\n")
    save(root / "masks/train/p0.png", [[0, 255, 0, 0, 0, 0, 0]] * 5)
    assert read(mask_values="binary").tolist() == [0, 1, 0, 0, 0, 0, 0]
    save(root / "masks/train/p0.png", [[0, 254, 0, 0, 0, 0, 0]] * 5)
    with pytest.raises(
        InputError, match="p0.png contains the value 254; allowed values are 0, 255, of which"
    ):
        read(mask_values="binary")


def test_split_sizes_of_the_papers():
    assert voc2012.INFO.splits["sbd"] == sum(voc2012.INFO.splits[f"sbd_{s}"] for s in
                                             ("train", "val"))  # fmt: skip
    assert ade20k.INFO.splits == {"train": 20210, "val": 2000}
