"""Builders for tensorflow-datasets: data sets that it lacks, or has with other labels.

    import tensorflow_datasets as tfds
    import jaxseg.data.datasets.tfds_builders
    tfds.builder("voc2012_segmentation").download_and_prepare(file_format="array_record")

The archives of VOC 2012, SBD and ADE20K are downloaded and verified, or taken from the folder
`downloads/manual` of the data directory. CamVid has no archive; copy its unpacked folder there.
Masks contain class indices, and 255 for ignored pixels. TensorFlow is not needed, neither to build
nor to read.
"""

import io
from collections.abc import Callable
from pathlib import Path

import tensorflow_datasets as tfds
from PIL import Image

from jaxseg.data.datasets import ade20k, camvid, voc2012
from jaxseg.data.listing import Listing, Pairs
from jaxseg.data.published import unpacked, usual_splits
from jaxseg.data.source import DataInfo
from jaxseg.data.voc_folder import LISTS


class _Segmentation(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """A data set in a folder: published images, and masks."""

    VERSION = tfds.core.Version("1.0.0")
    classes: DataInfo
    files: Callable[[Path, str], Listing]  # takes the root and a split
    photo_format: str = "jpeg"

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(encoding_format=self.photo_format),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=(type(self).__doc__ or "").strip(),
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "segmentation_mask"),
        )

    def _root(self, manual: Path) -> Path:
        return unpacked(self.classes.name, manual, manual / "unpacked")

    def _splits(self, root: Path) -> tuple[str, ...]:
        return usual_splits(self.classes.name)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        manual = Path(dl_manager.download_dir) / "manual"
        manual.mkdir(parents=True, exist_ok=True)
        root = self._root(manual)
        return {
            split: self._generate_examples(Pairs(type(self).files(root, split)))
            for split in self._splits(root)
        }

    def _generate_examples(self, source: Pairs):
        for index in range(len(source)):
            mask = io.BytesIO()
            Image.fromarray(source[index].label).save(mask, "PNG")
            mask.seek(0)
            name = source.name(index)
            photo = io.BytesIO(source.photo_bytes(index))
            yield name, {"image": photo, "segmentation_mask": mask, "file_name": name}


class Voc2012Segmentation(_Segmentation):
    """PASCAL VOC 2012 segmentation, with SBD's labels where VOC has none."""

    classes, files = voc2012.INFO, staticmethod(voc2012.voc2012)


class Ade20kSegmentation(_Segmentation):
    """ADE20K with 150 classes, SceneParse150."""

    classes, files = ade20k.INFO, staticmethod(ade20k.ade20k)


class CamvidSegmentation(_Segmentation):
    """CamVid with the 11 classes of SegNet; copy its folder CamVid into downloads/manual."""

    classes, files = camvid.INFO, staticmethod(camvid.camvid)
    photo_format = "png"

    def _root(self, manual: Path) -> Path:
        return manual / "CamVid"

    def _splits(self, root: Path) -> tuple[str, ...]:
        lists = root / LISTS  # if the frames are in VOC's layout
        there = [
            s for s in self.classes.splits if (root / s).is_dir() or (lists / f"{s}.txt").is_file()
        ]
        return tuple(there) or tuple(self.classes.splits)
