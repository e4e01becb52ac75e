"""Draws docs/street.jpg: CamVid frames labelled by the three networks.

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
    networks = {title: jaxseg.load(weights) for title, weights in NETWORKS.items()}
    rows = []
    for example in source:
        if example.name in frames:
            row = [("", example.image), ("", colorize(example.label, source.info))]
            for network in networks.values():
                row.append(("", colorize(network.predict(example.image), source.info)))
            rows.append(row)
    titles = ("photo", "truth", *networks)
    rows[0] = [(title, picture) for title, (_, picture) in zip(titles, rows[0], strict=True)]
    page = sheet(rows, 180, lambda width: legend(source.info, width, errors=False))
    page.save(DOCS / "street.jpg", quality=90)


if __name__ == "__main__":
    main(sys.argv[1], tuple(sys.argv[2:]) or FRAMES)
