"""Draws docs/three_networks.jpg: CamVid frames labelled by the three networks.

python docs/three_networks.py CAMVID [FRAME ...]

CAMVID is the folder of the data set, each FRAME the name of a validation image.
"""

import pathlib
import sys

import jaxseg
from jaxseg.config import default_config
from jaxseg.data import open_data
from jaxseg.visualization.palette import colorize
from jaxseg.visualization.panel import legend
from jaxseg.visualization.sheet import sheet

DOCS = pathlib.Path(__file__).parent
NETWORKS = {
    "FCN-8s": DOCS / "runs/fcn8s_camvid_small",
    "DeconvNet": DOCS / "runs/deconvnet_camvid_small",
    "PSPNet": "pspnet_camvid_small",
}
FRAMES = ("0016E5_08001", "0016E5_08151")


def main(root: str, frames: tuple[str, ...]) -> None:
    data = default_config().data
    data.name, data.root = "camvid", root
    source = open_data(data, "eval", seed=0)
    networks = [jaxseg.load(weights) for weights in NETWORKS.values()]
    titles = ("photo", "truth", *NETWORKS)
    numbers = {source.name(i): i for i in range(len(source))}
    if missing := set(frames) - set(numbers):
        sys.exit(f"{root} has no validation image {', '.join(sorted(missing))}.")
    rows = []
    for frame in frames:
        example = source[numbers[frame]]
        labels = [example.label, *(network.predict(example.image) for network in networks)]
        pictures = [example.image, *(colorize(label, source.info) for label in labels)]
        captions = titles if not rows else [""] * len(titles)
        rows.append(list(zip(captions, pictures, strict=True)))
    page = sheet(rows, 180, lambda width: legend(source.info, width, errors=False))
    page.save(DOCS / "three_networks.jpg", quality=90)


if __name__ == "__main__":
    main(sys.argv[1], tuple(sys.argv[2:]) or FRAMES)
