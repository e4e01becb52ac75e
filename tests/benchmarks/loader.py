"""Speed of the data loader, next to torch's DataLoader with albumentations on the same files.

    pip install '.[torch]' albumentations opencv-python-headless
    python tests/benchmarks/loader.py [--root VOC_FOLDER] [--images 1000]

Both read the same photos and palette masks by PSPNet's recipe (scale 0.5 to 2, rotation, blur,
flip, crop of 473), in batches of 16, with the same number of workers. Results are images per second
of processor time, not of wall time: other programs on the machine then disturb little, and more
workers than cores bring no advantage. Without --root the files are 512 generated scenes of 375×500
pixels.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import pathlib
import resource
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from jaxseg.data import Augment, Scenes, VocFolder, train_batches
from jaxseg.data.colours import voc_palette
from jaxseg.data.images import read_image
from jaxseg.data.masks import read_mask
from jaxseg.data.warp_backends import BACKENDS
from jaxseg.errors import InputError

CROP, BATCH, MEAN, WARM_UP = 473, 16, (124, 116, 104), 8
THEIRS = "torch + albumentations"
RECIPE = Augment((CROP, CROP), (0.5, 2.0), 0.5, rotation=10, blur=0.5, padding="centre", fill=MEAN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, help="folder in VOC layout, with train.txt")
    parser.add_argument("--images", type=int, default=1000, help="images that each loader reads")
    parser.add_argument("--workers", type=int, default=2, help="threads or processes of each")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured in turn")
    parser.add_argument("--in-turns", action="store_true", help="only one thread, image by image")
    parser.add_argument("--json", type=pathlib.Path, help="file for the ratios to torch's")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or write_scenes(pathlib.Path(folder))
        source = VocFolder(root, "train")
        print(f"{len(source)} files, {args.workers} workers, batches of {BATCH}")
        loaders, one_thread = {}, {}
        for backend, recipe in recipes():
            one_thread[backend] = functools.partial(augmented, source, recipe)
            if args.in_turns:
                continue
            stages(source, recipe)
            for what, options in (
                ("threads", {"threads": args.workers}),
                ("processes", {"workers": args.workers, "threads": 1}),
            ):
                name = f"jaxseg, {backend}, {args.workers} {what}"
                loaders[name] = functools.partial(ours, source, recipe, **options)
        in_turns(one_thread | {THEIRS: TorchPairs(source).__getitem__}, source, args.images)
        if args.in_turns:
            return
        loaders[THEIRS] = functools.partial(theirs, source, args.workers)
        ratios = compare(loaders, -(-args.images // BATCH), args.rounds)
        if args.json:
            args.json.write_text(json.dumps(ratios) + "\n")
        for step in (10, 1_000_000):
            begun = time.perf_counter()
            batches = ours(source, RECIPE, start_step=step, threads=args.workers)
            next(batches)
            batches.close()
            print(f"first batch at step {step:>9,}: {time.perf_counter() - begun:.3f} s")


def recipes() -> Iterator[tuple[str, Augment]]:
    """The recipe with each backend that is installed."""
    for backend in BACKENDS:
        try:
            yield backend, dataclasses.replace(RECIPE, backend=backend)
        except InputError as error:
            print(error.problem)


def write_scenes(root: pathlib.Path, count: int = 512) -> pathlib.Path:
    """Writes generated scenes in VOC layout."""
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    scenes = Scenes(0, count, (375, 500))
    for i in range(count):
        image, label, name = scenes[i]
        Image.fromarray(image).save(root / f"JPEGImages/{name}.jpg", quality=92)
        mask = Image.fromarray(label)
        mask.putpalette(np.array(voc_palette(256), np.uint8).tobytes())
        mask.save(root / f"SegmentationClass/{name}.png")
    names = "\n".join(scenes.name(i) for i in range(count))
    (root / "ImageSets/Segmentation/train.txt").write_text(names)
    return root


def stages(source: VocFolder, recipe: Augment, rounds: int = 100) -> None:
    """Prints milliseconds of processor time per image for each stage, in one thread."""
    pairs = [source.pairs[i % len(source)] for i in range(rounds)]
    examples = [source[i] for i in range(min(len(source), 16))]
    rng = np.random.default_rng(0)
    print(f"{recipe.backend}, one thread:")
    for name, work in (
        ("decode the photo", lambda i: read_image(pairs[i].photo)),
        ("decode the mask", lambda i: read_mask(pairs[i].mask, source.info.num_classes)),
        ("warp and blur", lambda i: recipe(examples[i % len(examples)], rng)),
        ("all of it", lambda i: recipe(source[i % len(source)], rng)),
    ):
        work(0)
        begun = time.process_time()
        for i in range(rounds):
            work(i)
        print(f"  {name:<18}{(time.process_time() - begun) / rounds * 1000:7.2f} ms")


def augmented(source: VocFolder, recipe: Augment, index: int) -> None:
    recipe(source[index], np.random.default_rng(index))


def in_turns(works: dict, source: VocFolder, images: int) -> None:
    """Reads and augments each image with all libraries in turn, in one thread.

    Whatever else the machine does then slows all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for i in range(images + WARM_UP):
        for name, work in works.items():
            begun = time.process_time()
            try:
                work(i % len(source))
            except ImportError as error:
                print(f"{name} not measured: {error}")
                seconds.pop(name)
                return
            seconds[name].append(time.process_time() - begun)
    each = {name: float(np.mean(values[WARM_UP:])) for name, values in seconds.items()}
    for name, value in each.items():
        print(f"{name:<24}{value * 1e3:7.2f} ms{each[THEIRS] / value:7.2f} of theirs")


def ours(source: VocFolder, recipe: Augment, **options):
    return train_batches(source, seed=0, batch_size=BATCH, augment=recipe, **options)


class TorchPairs:
    """The same examples as a torch data set; OpenCV decodes photos, Pillow the palette masks."""

    def __init__(self, source: VocFolder):
        self.pairs, self.transform = source.pairs, None

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        import albumentations as A
        import cv2

        if self.transform is None:  # made in the worker, so that it starts no threads of its own
            cv2.setNumThreads(0)
            how = {"border_mode": cv2.BORDER_CONSTANT, "fill": MEAN, "fill_mask": 255}
            self.transform = A.Compose(
                [
                    A.RandomScale((-0.5, 1.0), p=1),
                    A.Rotate((-10, 10), p=0.5, **how),
                    A.GaussianBlur((5, 5), p=0.5),
                    A.HorizontalFlip(p=0.5),
                    A.PadIfNeeded(CROP, CROP, **how),
                    A.RandomCrop(CROP, CROP),
                ]
            )
        pair = self.pairs[index]
        image = cv2.imread(str(pair.photo), cv2.IMREAD_COLOR_RGB)
        with Image.open(pair.mask) as file:
            mask = np.array(file)
        out = self.transform(image=image, mask=mask)
        return out["image"], out["mask"]


def theirs(source: VocFolder, workers: int):
    from torch.utils.data import DataLoader, RandomSampler

    data = TorchPairs(source)
    sampler = RandomSampler(data, replacement=True, num_samples=10**6)
    yield from DataLoader(data, BATCH, sampler=sampler, num_workers=workers)


def compare(loaders: dict, batches: int, rounds: int) -> dict[str, float]:
    """Measures images per second of processor time and of wall time: medians over rounds.

    Returns the processor-time rate relative to torch's for each loader; an empty dict where torch
    was not measured. The cost of a batch is the time of a long run minus that of a short one: the
    start of worker processes, with their imports, and the batches that are prefetched cancel out.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    for measured in range(rounds + 1):
        for name, loader in loaders.items():
            try:
                if not measured:  # one run first, so that imports are not timed
                    run(loader, 1)
                    continue
                short, long = (run(loader, count) for count in (WARM_UP, WARM_UP + batches))
            except ImportError as error:
                print(f"{name:<30}not measured: {error}")
                continue
            processor, clock = (b - a for a, b in zip(short, long, strict=True))
            found[name].append((batches * BATCH / processor, batches * BATCH / clock))
    medians = {name: np.median(values, axis=0) for name, values in found.items() if values}
    ratios = {}
    if THEIRS in medians:
        ratios = {name: float(values[0] / medians[THEIRS][0]) for name, values in medians.items()}
    for name, (per_core, per_second) in medians.items():
        ratio = f"{ratios[name]:7.2f} of theirs" if ratios else ""
        print(f"{name:<30}{per_core:7.1f} images/s per core, {per_second:7.1f} images/s{ratio}")
    return {name: ratio for name, ratio in ratios.items() if name != THEIRS}


def run(loader, batches: int) -> tuple[float, float]:
    """Seconds of processor time and of wall time for the first batches."""
    before, begun, stream = seconds(), time.perf_counter(), loader()
    for _ in itertools.islice(stream, batches):
        pass
    clock = time.perf_counter() - begun
    stream.close()
    return seconds() - before, clock


def seconds() -> float:
    """Processor time of this process and of its finished children."""
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in usage)


if __name__ == "__main__":
    main()
