"""`python -m jaxseg report`: runs side by side, on one page."""

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
        "Scores runs and sets them side by side on one HTML page that needs no other file:\n"
        "scores, classes, confusions, learning curves, the best and the worst images, configs.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--workdir",
        type=network_name,
        nargs="+",
        required=True,
        metavar="DIR",
        help="workdirs of runs that are scored on the same images, or names of networks",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, metavar="FILE", help="the page to write"
    )
    add_step(parser)
    parser.add_argument(
        "--images",
        type=int,
        default=3,
        metavar="N",
        help="how many of the best images, and of the worst (default: 3)",
    )
    parser.add_argument(
        "--activations",
        action="store_true",
        help="the activations of layers for an image, too",
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="with --activations: class that chooses the image and the channels "
        "(default: the most frequent one but one)",
    )
    parser.add_argument(
        "--config.FIELD",
        metavar="VALUE",
        help="set a field of eval or data that is to differ from the runs', as often as needed",
    )
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    step, fields = parse_step(args.step), scoring_values(overrides)
    if args.images < 1:
        raise InputError(f"--images is {args.images}.", "Give 1 or more.")
    if args.class_name is not None and not args.activations:
        raise InputError("--class goes with --activations.", "Give both, or neither.")

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
