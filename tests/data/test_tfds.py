"""Data sets of tensorflow-datasets; one is built here, offline."""

import hashlib
import io
import pickle
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxseg.cli.config_options import read_config
from jaxseg.config import default_config
from jaxseg.data import Augment, archives, open_data, published, train_batches
from jaxseg.errors import InputError


def encoded(image: Image.Image, kind: str) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind)
    file.seek(0)
    return file


def palette_mask(labels) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette(np.random.default_rng(0).bytes(768))
    return image


class TinySegmentation(tfds.core.GeneratorBasedBuilder):
    """Four photos with palette masks, which tensorflow-datasets would decode to colours."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=2),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(4)}

    def _generate_examples(self, count):
        rng = np.random.default_rng(0)
        for i in range(count):
            size = (20 + i, 30 - i)
            yield (
                str(i),
                {
                    "image": encoded(
                        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)), "JPEG"
                    ),
                    "mask": encoded(palette_mask(np.full(size, i % 3, np.uint8)), "PNG"),
                    "label": i % 2,
                },
            )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    TinySegmentation(data_dir=folder).download_and_prepare(file_format="array_record")
    return folder


def data(prepared, tmp_path, **fields):
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    config = default_config().data
    usual = {"tfds_name": "tiny_segmentation", "classes": str(tmp_path / "classes.txt")}
    config.update({"name": "tfds", "root": str(prepared), "mask_key": "mask"} | usual | fields)
    return config


def test_reads_indices_without_tensorflow(prepared, tmp_path):
    source = open_data(data(prepared, tmp_path), "train")
    assert (len(source), source.info.class_names) == (4, ("a", "b", "c"))
    sizes = sorted(source.size(i) for i in range(4))
    assert (
        sizes
        == sorted(source[i].label.shape for i in range(4))
        == [(20 + i, 30 - i) for i in range(4)]
    )
    for image, label, name in (source[i] for i in range(4)):
        assert image.shape == (*label.shape, 3)
        assert label.min() == label.max() == (label.shape[0] - 20) % 3
        assert name.startswith("tiny_segmentation train ")
    assert "tensorflow" not in sys.modules
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[2].image, source[2].image)


@pytest.mark.slow
def test_trains_from_worker_processes(prepared, tmp_path):
    source = open_data(data(prepared, tmp_path), "train")
    options = {"seed": 0, "batch_size": 3, "augment": Augment((8, 8))}
    for workers in (0, 1):
        batches = train_batches(source, workers=workers, **options)
        got = next(batches)
        batches.close()
        assert got.image.shape == (3, 8, 8, 3)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"tfds_name": None}, "tfds_name is not set"),
        ({"tfds_name": "no_such_data_set"}, "tensorflow-datasets has no 'no_such_data_set'"),
        ({"classes": None}, "The classes of 'tiny_segmentation' are unknown"),
        ({"mask_key": "segmentation_mask"}, "no image feature 'segmentation_mask'.*image, mask"),
        ({"train_split": "training"}, "no split 'training'.*there are 'train' .4 examples"),
        ({"train_split": "train[:9]"}, r"no split 'train\[:9\]': .*4 examples. Set config.data.tr"),
        ({"mask_values": "binary"}, "'binary', but"),
    ],
)
def test_what_is_wrong_is_named(prepared, tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        open_data(data(prepared, tmp_path, **fields), "train")


def test_pets_need_no_classes_and_say_at_once_that_there_is_no_network(tmp_path, monkeypatch):
    """The builder's keys are known; only the download fails."""

    def fail(*_, **__):
        raise OSError("not found")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    c = data(tmp_path, tmp_path, tfds_name="oxford_iiit_pet", classes=None, mask_key=None)
    with pytest.raises(
        InputError, match=r"oxford_iiit_pet' is not in .*/oxford_iiit_pet/"
    ) as error:
        open_data(c, "train")
    assert "cannot be downloaded: no network: the address of thor.rob" in error.value.problem
    assert "copy that folder" in error.value.remedy
    assert not list(tmp_path.glob("oxford*"))
    # archives that are there already may be enough
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/a.tar.gz").write_bytes(b"")
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError, match=r"cannot be downloaded: not found\."):
        open_data(c, "train")


def voc_archives(devkit, folder, monkeypatch):
    """Makes VOC's archive, as `prepare` knows it, from a devkit of the tests."""
    devkit.list("val", ["p1", "p2"])
    folder.mkdir(parents=True)
    with tarfile.open(folder / "voc.tar", "w") as file:
        file.add(devkit.root, "VOCdevkit/VOC2012")
    md5 = hashlib.md5((folder / "voc.tar").read_bytes()).hexdigest()
    voc = archives.Archive("http://127.0.0.1:9/voc.tar", md5, "VOCdevkit/VOC2012")
    sets = {"voc2012": ((voc,), "VOCdevkit/VOC2012", ("train", "val"))}
    monkeypatch.setattr(published, "PUBLISHED", sets)


def test_our_builder_holds_what_the_folder_holds(devkit, tmp_path, monkeypatch):
    voc_archives(devkit, tmp_path / "downloads/manual", monkeypatch)
    config = default_config().data
    config.update({"name": "tfds", "tfds_name": "voc2012_segmentation", "root": str(tmp_path)})
    source = open_data(config, "train")
    assert len(open_data(config, "eval")) == 2
    assert source.info.class_names[:2] == ("background", "aeroplane")
    folder = devkit.open()
    by_size = {folder.size(i): folder[i] for i in range(len(folder))}  # the order may differ
    assert sorted(source.size(i) for i in range(len(source))) == sorted(
        folder.size(i) for i in range(len(folder))
    )
    for i in range(len(source)):
        if list(map(folder.size, range(len(folder)))).count(source.size(i)) == 1:
            np.testing.assert_array_equal(source[i].image, by_size[source.size(i)].image)
            np.testing.assert_array_equal(source[i].label, by_size[source.size(i)].label)
    assert "tensorflow" not in sys.modules


def test_our_builder_refuses_another_archive(devkit, tmp_path, monkeypatch):
    voc_archives(devkit, tmp_path / "downloads/manual", monkeypatch)
    with (tmp_path / "downloads/manual/voc.tar").open("ab") as file:
        file.write(b"more")
    config = default_config().data
    config.update({"name": "tfds", "tfds_name": "voc2012_segmentation", "root": str(tmp_path)})
    with pytest.raises(InputError, match="voc.tar has the MD5 sum"):
        open_data(config, "train")


@pytest.mark.slow
def test_our_builder_takes_camvid(shared_data, tmp_path):
    (tmp_path / "downloads/manual").mkdir(parents=True)
    (tmp_path / "downloads/manual/CamVid").symlink_to(shared_data / "camvid")
    config = default_config().data
    config.update({"name": "tfds", "tfds_name": "camvid_segmentation", "root": str(tmp_path)})
    assert len(open_data(config, "train")) == 367
    source = open_data(config, "eval")
    assert (len(source), source.info.num_classes, source[7].label.shape) == (101, 11, (360, 480))


class OxfordIiitPet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Stores examples in the format of tensorflow-datasets' own builder, which reads them."""

    VERSION = tfds.core.Version("4.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),
                    "label": tfds.features.ClassLabel(num_classes=37),
                    "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
                    "file_name": tfds.features.Text(),
                    "segmentation_mask": tfds.features.Image(
                        shape=(None, None, 1), use_colormap=True
                    ),
                    "head_bbox": tfds.features.BBoxFeature(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(3), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for i in range(count):
            trimap = np.full((20, 30), 2, np.uint8)
            trimap[4:16, 5:25] = 3
            trimap[6:14, 7:23] = 1
            photo = np.repeat(trimap[..., None] * 60, 3, axis=2)
            yield (
                f"{i}",
                {
                    "image": encoded(Image.fromarray(photo), "JPEG"),
                    "label": i,
                    "species": i % 2,
                    "file_name": f"{i}.jpg",
                    "segmentation_mask": encoded(Image.fromarray(trimap), "PNG"),
                    "head_bbox": tfds.features.BBox(0.1, 0.1, 0.5, 0.5),
                },
            )


def test_pets_have_their_border_as_a_class_or_ignored(tmp_path):
    OxfordIiitPet(data_dir=tmp_path).download_and_prepare(file_format="array_record")
    config = read_config("configs/pets_fcn8s.py", [("data.root", str(tmp_path))]).data
    source = open_data(config, "train")
    assert source.info.class_names == ("pet", "background", "border")
    label = source[0].label
    assert (label[10, 10], label[0, 0], label[5, 10]) == (0, 1, 2)
    config.eval_split = "test"  # the recipe scores on 500 of it
    assert len(open_data(config, "eval")) == 2
    config.ignore_label = 3
    source = open_data(config, "train")
    assert source.info.class_names == ("pet", "background")
    label = source[0].label
    assert (label[10, 10], label[0, 0], label[5, 10]) == (0, 1, 255)
