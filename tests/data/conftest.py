"""Small data sets on disk, and the real ones where they are available."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxseg.data import VocFolder
from jaxseg.data.colours import voc_palette


class Devkit:
    """A folder in VOC layout that tests fill and damage."""

    sizes = [(13, 17), (1, 5), (32, 9), (13, 17), (21, 21)]  # (height, width) of the examples

    def __init__(self, root: Path):
        self.root = root
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / folder).mkdir(parents=True)
        rng = np.random.default_rng(0)
        for index, size in enumerate(self.sizes):
            self.photo(f"p{index}", rng.integers(0, 256, (*size, 3), np.uint8))
            self.mask(f"p{index}", rng.choice([0, 1, 20, 255], size).astype(np.uint8))
        self.list("train", [f"p{i}" for i in range(len(self.sizes))])

    def photo(self, name: str, pixels: np.ndarray, suffix: str = ".jpg", **options) -> Path:
        return self.image(f"JPEGImages/{name}{suffix}", Image.fromarray(pixels), **options)

    def mask(self, name: str, indices: np.ndarray) -> Path:
        image = Image.fromarray(indices)
        if indices.dtype == np.uint8 and indices.ndim == 2:
            image.putpalette(np.array(voc_palette(256), np.uint8).tobytes())
        return self.image(f"SegmentationClass/{name}.png", image)

    def image(self, path: str, image: Image.Image, **options) -> Path:
        image.save(self.root / path, **options)
        return self.root / path

    def list(self, split: str, names: list[str]) -> Path:
        return self.text(f"ImageSets/Segmentation/{split}.txt", "".join(f"{n}\n" for n in names))

    def text(self, path: str, text: str) -> Path:
        (self.root / path).write_text(text)
        return self.root / path

    def open(self, split: str = "train") -> VocFolder:
        return VocFolder(self.root, split)


@pytest.fixture
def devkit(tmp_path) -> Devkit:
    return Devkit(tmp_path / "devkit")


@pytest.fixture
def real_data(shared_data):
    """`real_data(name)`: the folder of a real data set; skips the test where it is missing."""

    def folder(name: str) -> Path:
        path = shared_data / name
        if not path.is_dir():
            pytest.skip(f"the data set {name} is not at hand ({path})")
        return path

    return folder
