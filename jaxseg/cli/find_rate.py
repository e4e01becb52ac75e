"""`python -m jaxseg find-rate`: suggests a learning rate for a config, by a short range test."""

import pathlib
from collections.abc import Sequence

from jaxseg.cli.config_options import read_config, split_overrides
from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.options import add_data, data_overrides
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError

_EXAMPLES = (
    "python -m jaxseg find-rate --config quickstart --out rates.png",
    "python -m jaxseg find-rate --config configs/fcn8s.py --low 1e-12 --high 1e-8 --steps 200",
)


def main(argv: Sequence[str]) -> int | None:
    """Parses the options, trains for some steps, prints the rate."""
    parser = Parser(
        "find-rate",
        "Trains for some steps with a growing learning rate, and suggests a tenth of the rate at\n"
        "which the loss was lowest. Writes nothing except the plot.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--config", required=True, metavar="PATH[:ARG]", help="config file or recipe"
    )
    parser.add_argument("--config.FIELD", metavar="VALUE", help="set a config field; repeatable")
    parser.add_argument("--low", type=float, default=1e-6, help="first rate (default: 1e-6)")
    parser.add_argument("--high", type=float, default=1.0, help="last rate (default: 1)")
    parser.add_argument(
        "--steps", type=int, default=100, metavar="N", help="number of steps (default: 100)"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, metavar="FILE.png", help="plot of loss against rate"
    )
    add_data(parser)
    add_json(parser)
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    if args.out is not None and args.out.suffix.lower() != ".png":
        raise InputError(f"--out {args.out} does not end in .png.", "Give a name ending in .png.")
    config = read_config(args.config, [*overrides, *data_overrides(args)])

    with json_output(args.json) as put:
        from jaxseg.training.rate_range import rate_range

        found = rate_range(config, low=args.low, high=args.high, steps=args.steps)
        put(found._asdict())
        if args.out is not None and found.rates:
            from jaxseg.utils.atomic import atomic_file
            from jaxseg.visualization.rate_plot import rate_plot

            picture = rate_plot(found.rates, found.losses, found.smoothed, found.suggestion)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(args.out) as file:
                picture.save(file, "PNG")
            print(f"plot: {args.out}")
        if found.suggestion is None:
            print("The loss never fell, so there is no suggestion. Try a lower --low.")
            return 2
        print(f"suggested learning rate: --config.optim.lr={found.suggestion:g}")
    return None
