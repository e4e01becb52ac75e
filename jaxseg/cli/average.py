"""`python -m jaxseg average`: writes a network whose weights are the mean of several."""

import pathlib
from collections.abc import Sequence

from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.options import network_name
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError

_EXAMPLES = (
    "python -m jaxseg average runs/camvid --last 2 --out averaged",
    "python -m jaxseg average runs/seed0 runs/seed1 runs/seed2 --out soup",
    "python -m jaxseg predict --weights averaged street.jpg",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, writes the folder, prints a summary."""
    parser = Parser(
        "average",
        "Averages the weights of a run's last checkpoints, or of several runs of one network.\n"
        "The runs must have started from the same weights.",
        _EXAMPLES,
    )
    parser.add_argument(
        "networks",
        metavar="DIR",
        nargs="+",
        type=network_name,
        help="workdirs, folders written by convert, or names of networks",
    )
    parser.add_argument(
        "--last",
        type=int,
        metavar="K",
        help="average the last K checkpoints of each workdir (default: 1)",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, metavar="DIR", required=True, help="new folder to write"
    )
    add_json(parser)
    args = parser.parse_args(argv)
    if args.last is not None and args.last < 1:
        raise InputError(f"--last is {args.last}.", "Give 1 or more.")

    from jaxseg.pretrained.average import last_checkpoints, save_average
    from jaxseg.pretrained.folder import check_free

    check_free(args.out)
    with json_output(args.json) as put:
        sources = []
        for network in args.networks:
            sources += last_checkpoints(network, args.last) if args.last else [(network, "last")]
        mean = save_average(sources, args.out)
        put({"folder": args.out, "network": mean.card["network"], "averaged": len(sources)})
        print(f"{args.out}: {mean.card['network']}, {mean.card['source']}")
