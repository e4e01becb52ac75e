"""Two thousand damaged files: each is read or refused by name, and none crashes the reader."""

import io
import multiprocessing
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from jaxseg.data.decode import read_size
from jaxseg.data.images import read_image
from jaxseg.data.masks import read_mask
from jaxseg.errors import InputError

FILES = 2000
PHOTOS = {".jpg": "RGB", ".png": "RGBA", ".tif": "CMYK", ".webp": "RGB", ".bmp": "RGB"}
MASKS = {".png": "P", ".gif": "P", ".bmp": "L", ".tif": "L"}


def originals() -> list[tuple[str, str, bytes]]:
    """(photo or mask, suffix, content) of undamaged files."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (6, 7, 3), np.uint8).repeat(9, 0).repeat(9, 1)
    found = []
    for kind, suffixes in (("photo", PHOTOS), ("mask", MASKS)):
        for suffix, mode in suffixes.items():
            file = io.BytesIO()
            image = Image.fromarray(blocks if kind == "photo" else blocks[..., 0] % 21)
            image = image if image.mode == mode else image.convert(mode)
            image.save(file, Image.registered_extensions()[suffix])
            found.append((kind, suffix, file.getvalue()))
    file = io.BytesIO()
    scipy.io.savemat(file, {"LabelMap": (blocks[..., 0] % 21).astype(np.uint16)})
    return [*found, ("mask", ".mat", file.getvalue())]


def damaged(rng: np.random.Generator, whole: bytes) -> bytes:
    """Damages a file: bytes overwritten, cut off, removed or doubled, or bits flipped."""
    data, way = bytearray(whole), rng.integers(6)
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 40))
    if way == 0:
        for place in rng.integers(0, len(data), rng.integers(1, 30)):
            data[place] = rng.integers(256)
    elif way == 1:
        del data[at:]
    elif way == 2:
        del data[at : at + length]
    elif way == 3:
        data[at:at] = data[at : at + length]
    elif way == 4:
        for place in rng.integers(0, min(64, len(data)), rng.integers(1, 5)):
            data[place] ^= 1 << int(rng.integers(8))
    else:
        data[at : at + length] = rng.bytes(length)
    return bytes(data)


def read_all(folder: str, results) -> None:
    """Reads damaged files one after the other; sends the outcome of each."""
    rng = np.random.default_rng(1)
    warnings.simplefilter("ignore")  # decoders warn about the damage
    whole = originals()
    for number in range(FILES):
        kind, suffix, content = whole[number % len(whole)]
        path = Path(folder) / f"file{number}{suffix}"
        path.write_bytes(damaged(rng, content))
        begun = time.process_time()
        outcome = []
        readers = [read_image, read_size] if kind == "photo" else [lambda p: read_mask(p, 21)]
        for read in readers:
            try:
                result = read(path)
                outcome.append("read")
                assert isinstance(result, tuple) or (result.dtype == np.uint8 and result.size)
            except InputError as error:
                assert path.name in error.problem, error
                outcome.append("refused")
        path.unlink()
        results.put((number, suffix, outcome, time.process_time() - begun))
    results.put(None)


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_by_name(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    reader = context.Process(target=read_all, args=(str(tmp_path), results), daemon=True)
    reader.start()
    seen = []
    while (result := results.get(timeout=60)) is not None:  # a timeout means a crash or a hang
        seen.append(result)
    reader.join(timeout=60)
    assert reader.exitcode == 0 and len(seen) == FILES
    assert max(seconds for *_, seconds in seen) < 5
    outcomes = [word for *_, words, _ in seen for word in words]
    assert min(outcomes.count("read"), outcomes.count("refused")) > FILES // 10
