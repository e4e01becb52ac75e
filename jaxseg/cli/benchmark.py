"""`python -m jaxseg benchmark`: how fast this machine trains, evaluates, reads or compiles."""

from collections.abc import Sequence

from jaxseg.cli.config_options import read_config, split_overrides
from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.parser import Parser

_EXAMPLES = (
    "python -m jaxseg benchmark --config configs/quickstart.py",
    "python -m jaxseg benchmark --config configs/quickstart.py --what eval --json eval.json",
    "python -m jaxseg benchmark --config configs/camvid_pspnet.py --config.model.dtype=bfloat16",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, measures, prints the table."""
    parser = Parser(
        "benchmark",
        "Measures a run's programs on this machine: time, memory, operations. Nothing is trained.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--config", required=True, metavar="PATH[:ARG]", help="config file, and its argument"
    )
    parser.add_argument("--config.FIELD", metavar="VALUE", help="set one field, as often as needed")
    parser.add_argument(
        "--what",
        default="train",
        metavar="train|eval|loader|compile",
        help="a train step, an evaluation, the training data, or compiling (default: train)",
    )
    parser.add_argument(
        "--repeats", type=int, default=10, metavar="N", help="steps or batches timed (default: 10)"
    )
    add_json(parser)
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    config = read_config(args.config, overrides)

    with json_output(args.json) as put:
        from jaxseg.benchmark import benchmark, benchmark_table

        result = benchmark(config, args.what, repeats=args.repeats)
        put(result)
        print(benchmark_table(result))
