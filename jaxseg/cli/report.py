"""`python -m jaxseg report`: compares runs on one page."""

import pathlib
from collections.abc import Sequence

from jaxseg.cli.config_options import scoring_values, split_overrides
from jaxseg.cli.options import add_step, network_name, parse_step
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError

_EXAMPLES = (
    "python -m jaxseg report --workdir runs/camvid --out report.html",
    "python -m jaxseg report --workdir runs/fcn runs/deconvnet runs/pspnet --out report.html",
    "python -m jaxseg report --workdir runs/deconvnet --out report.html --activations --class car",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, writes the page, prints its path."""
    parser = Parser(
        "report",
        "Evaluates runs and compares them on one self-contained HTML page: metrics, classes,\n"
        "confusion matrices, learning curves, best and worst images, configs.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--workdir",
        type=network_name,
        nargs="+",
        required=True,
        metavar="DIR",
        help="workdirs of runs with the same evaluation images, or of all folds of a data set; or "
        "names of networks",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, metavar="FILE", help="page to write"
    )
    add_step(parser)
    parser.add_argument(
        "--images",
        type=int,
        default=3,
        metavar="N",
        help="number of best and of worst images to show (default: 3)",
    )
    parser.add_argument(
        "--activations",
        action="store_true",
        help="also show the activations of the layers for one image",
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="with --activations: class by which the image and channels are chosen "
        "(default: the second most frequent one)",
    )
    parser.add_argument(
        "--config.FIELD",
        metavar="VALUE",
        help="override a field of eval or data; repeatable",
    )
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    step, fields = parse_step(args.step), scoring_values(overrides)
    if args.images < 1:
        raise InputError(f"--images is {args.images}.", "Give 1 or more.")
    if args.class_name is not None and not args.activations:
        raise InputError("--class works only with --activations.", "Give both, or neither.")

    from jaxseg.report.page import write_report

    write_report(
        args.workdir,
        args.out,
        step=step,
        fields=fields,
        images=args.images,
        layers=args.activations,
        class_name=args.class_name,
    )
    print(args.out)
