"""CamVid and some photos of PASCAL VOC, where they are available."""

import json

import numpy as np

from jaxseg.data import Augment, VocFolder, eval_batches, train_batches


def test_camvid_splits_classes_and_values(real_data):
    root = real_data("camvid")
    train, val = VocFolder(root, "train"), VocFolder(root, "val")
    assert (len(train), len(val), train.info.num_classes) == (367, 101, 11)
    assert (train.info.class_names[0], train.info.palette[0]) == ("sky", (128, 128, 128))
    for i in range(0, 367, 37):
        image, label, _ = train[i]
        assert (image.shape, label.shape, train.size(i)) == ((360, 480, 3), (360, 480), (360, 480))
        assert set(np.unique(label)) <= {*range(11), 255}


def test_camvid_pixel_counts(real_data):
    root = real_data("camvid")
    val = VocFolder(root, "val")
    counts = np.zeros(256, np.int64)
    for batch in eval_batches(val, batch_size=8):
        counts += np.bincount(batch.label.ravel(), minlength=256)
        counts[255] -= (8 - (batch.indices >= 0).sum()) * 360 * 480
    expected = json.loads((root / "stats.json").read_text())["splits"]["val"]["pixels"]
    assert counts[[*range(11), 255]].tolist() == expected


def test_camvid_trains_in_batches(real_data):
    batches = train_batches(
        VocFolder(real_data("camvid"), "train"),
        seed=0,
        batch_size=4,
        augment=Augment((180, 240), (0.5, 1.0), 0.5),
    )
    batch = next(batches)
    batches.close()
    assert batch.image.shape == (4, 180, 240, 3)
    assert set(np.unique(batch.label)) <= {*range(11), 255}


def test_voc_photos_of_many_sizes(real_data):
    root = real_data("voc2012_sample")
    seen = []
    for split, count in (("train", 4), ("val", 1)):
        source = VocFolder(root, split)
        assert (len(source), source.info.num_classes) == (count, 21)
        for i in range(count):
            image, label, name = source[i]
            assert image.shape[:2] == label.shape == source.size(i)
            seen.append((name, label.shape))
            if name == "2007_000129":
                assert (label == 255).any()  # VOC's own borders
    assert len({size for _, size in seen}) > 1


def test_voc_photos_group_by_size(real_data):
    source = VocFolder(real_data("voc2012_sample"), "train")
    batches = list(eval_batches(source, batch_size=2))
    assert sum((b.indices >= 0).sum() for b in batches) == 4
    assert len({b.label.shape for b in batches}) == len({source.size(i) for i in range(4)})
