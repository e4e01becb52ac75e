r"""Labels GeoTIFFs of any size with `python -m jaxseg predict --geotiff`: time and peak memory.

    python tests/benchmarks/scene.py --sides 5000 20000 40000 --folder FOLDER

Writes a square RGB scene of each size block by block, labels it in a process of its own, and prints
its time and peak memory. Then it compares the corners and some windows of the result with
predictions of these windows, and the size, transform and CRS with those of the scene. Without
--workdir it uses the built-in network, which takes five times as long as the narrow one of the
documentation, from

    python -m jaxseg train --config camvid_pspnet --config.data.root=CAMVID --workdir narrow \
        --config.model.name=pspnet_resnet18 --config.model.width=0.0625 --config.train.steps=60
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np
import rasterio
from rasterio.windows import Window

import jaxseg
from jaxseg.cli import settle_process
from jaxseg.pretrained.zoo.rows import EMBEDDED

BLOCK = 512
PLACE = rasterio.transform.from_origin(500_000, 4_600_000, 0.25, 0.25)
"""Corner and pixel size in metres."""
CRS = "EPSG:32633"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[5_000, 20_000, 40_000])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="for the scenes")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--checks", type=int, default=20, help="windows compared at random")
    parser.add_argument("--workdir", help="a run whose network has three channels")
    args = parser.parse_args()
    settle_process()  # the same arithmetic as in the command
    args.folder.mkdir(parents=True, exist_ok=True)
    for side in args.sides:
        scene, result = args.folder / f"scene{side}.tif", args.folder / f"out{side}"
        if not scene.exists():
            write_scene(scene, side)
        command = [sys.executable, "-m", "jaxseg", "predict", str(scene), "--geotiff"]
        command += ["--out", str(result), "--window", str(args.window), "--overwrite"]
        command += ["--config.eval.input_size=None"]
        command += ["--workdir", args.workdir] if args.workdir else []
        begun = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - begun
        # The largest child so far: sizes come in rising order.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        labels = result / scene.name
        differences, pixels = compare(scene, labels, args.window, args.checks, args.workdir)
        size = [file.stat().st_size / 2**20 for file in (scene, labels)]
        print(
            f"{side} x {side}: {seconds:.0f} s, peak {peak:.0f} MiB, scene {size[0]:.0f} MiB, "
            f"labels {size[1]:.0f} MiB, {differences} of {pixels} compared pixels differ",
            flush=True,
        )


def write_scene(path: pathlib.Path, side: int) -> None:
    """A scene of coloured patches of 8 to 64 pixels, other ones in each block; it packs well."""
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate"}
    profile |= {"interleave": "pixel", "crs": CRS, "transform": PLACE, "bigtiff": "if_safer"}
    unfinished = path.with_suffix(".part")
    with rasterio.open(unfinished, "w", **profile) as file:
        for top in range(0, side, BLOCK):
            for left in range(0, side, BLOCK):
                rng = np.random.default_rng((top, left))
                patch = 2 ** int(rng.integers(3, 7))
                cells = rng.integers(0, 256, (3, BLOCK // patch, BLOCK // patch), np.uint8)
                block = cells.repeat(patch, 1).repeat(patch, 2)
                height, width = min(BLOCK, side - top), min(BLOCK, side - left)
                window = Window(left, top, width, height)
                file.write(block[:, :height, :width], window=window)
    unfinished.replace(path)


def compare(
    scene: pathlib.Path, labels: pathlib.Path, window: int, checks: int, workdir: str | None
) -> tuple[int, int]:
    """Labels the four corners and some windows again; returns the differing and all pixels.

    The windows are those of the command: a quarter of a window is margin, an eighth on each side.
    """
    network = jaxseg.load(workdir or EMBEDDED)
    network.eval.input_size = None
    rng = np.random.default_rng(0)
    wrong, total, seen = 0, 0, set()
    with rasterio.open(scene) as source, rasterio.open(labels) as result:
        assert result.shape == source.shape, (result.shape, source.shape)
        assert result.transform == source.transform == PLACE, result.transform
        assert result.crs == source.crs == rasterio.crs.CRS.from_string(CRS), result.crs
        side, step, margin = source.width, window - 2 * (window // 8), window // 8
        count = -(-side // step)
        places = [(0, 0), (0, count - 1), (count - 1, 0), (count - 1, count - 1)]
        places += [tuple(place) for place in rng.integers(0, count, (checks, 2)).tolist()]
        for place in places:
            first = [min(max(i * step - margin, 0), side - window) for i in place]
            decided = [slice(i * step, min(i * step + step, side)) for i in place]
            pixels = source.read(window=Window(first[1], first[0], window, window))
            inside = tuple(
                slice(d.start - f, d.stop - f) for d, f in zip(decided, first, strict=True)
            )
            want = network.predict(np.moveaxis(pixels, 0, 2))[inside]
            got = result.read(1, window=Window.from_slices(*decided))
            wrong += int((want != got).sum())
            total += got.size
            seen.update(np.unique(got).tolist())
    assert len(seen) > 1, f"every pixel has the label {seen}"
    return wrong, total


if __name__ == "__main__":
    main()
