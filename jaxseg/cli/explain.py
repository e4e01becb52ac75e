"""`python -m jaxseg explain`: draws the activations of trained networks."""

import pathlib
from collections.abc import Sequence

from jaxseg.cli.config_options import scoring_values, split_overrides
from jaxseg.cli.options import network_name
from jaxseg.cli.parser import Parser

_EXAMPLES = (
    "python -m jaxseg explain --workdir runs/camvid --out pictures",
    "python -m jaxseg explain --workdir runs/fcn runs/deconvnet runs/pspnet --out pictures "
    "--image 40 --class car",
    "python -m jaxseg explain --workdir pspnet_r50_cityscapes fcn_r50_cityscapes --out pictures "
    "--config.data.root=cityscapes",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, draws the pictures, prints their paths."""
    parser = Parser(
        "explain",
        "Draws the activations of each run's network for one evaluation image: one PNG per run.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--workdir",
        type=network_name,
        nargs="+",
        required=True,
        metavar="DIR",
        help="workdirs of runs, or names of networks",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, metavar="DIR", help="folder for the figures"
    )
    parser.add_argument(
        "--image", type=int, default=0, metavar="N",
        help="index of the image in the evaluation split (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="class by which channels are chosen (default: the second most frequent one)",
    )
    parser.add_argument(
        "--config.FIELD",
        metavar="VALUE",
        help="override a field of eval or data; repeatable",
    )
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    fields = scoring_values(overrides)

    from jaxseg.report.explain import explain

    for path in explain(
        args.workdir, args.out, image=args.image, class_name=args.class_name, fields=fields
    ):
        print(path)
