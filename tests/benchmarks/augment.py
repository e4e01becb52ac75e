"""Processor time to read and augment an image, on the host and with `augment.on_device`.

    python tests/benchmarks/augment.py [--root VOC_FOLDER]

Reads photos and palette masks by PSPNet's recipe (scale 0.5 to 2, rotation, blur, flip, crop of
473) in one thread, and prints the lowest of five times per image, and the images per second that 16
such cores give. Without --root the files are 64 generated scenes of 375×500 pixels.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np
from loader import recipes, write_scenes

from jaxseg.data import VocFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, help="folder in VOC layout, with train.txt")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or write_scenes(pathlib.Path(folder), 64)
        source = VocFolder(root, "train")
        count = min(len(source), 64)
        examples = [source[i] for i in range(count)]
        reading = lowest(lambda i: source[i], count)
        print(f"reading an image and its mask: {1e3 * reading:.2f} ms")
        for backend, recipe in recipes():
            for what, augment in (("host", recipe), ("on_device", recipe.planned)):
                each = lowest(lambda i, a=augment: a(examples[i], np.random.default_rng(i)), count)
                rate = 16 / (reading + each)
                print(f"{backend}, {what}: {1e3 * each:.2f} ms; 16 cores: {rate:.0f} images/s")


def lowest(work, count: int) -> float:
    """The lowest of five processor times of `work(index)`, in seconds per index."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        for index in range(count):
            work(index)
        times.append((time.process_time() - begun) / count)
    return min(times)


if __name__ == "__main__":
    main()
