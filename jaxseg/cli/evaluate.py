"""`python -m jaxseg evaluate`: prints the metrics of a checkpoint."""

from collections.abc import Sequence

from jaxseg.cli.config_options import scoring_values, split_overrides
from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.options import add_distributed, add_network, check_network, parse_step
from jaxseg.cli.parser import Parser
from jaxseg.cli.score_table import score_table

_EXAMPLES = (
    "python -m jaxseg evaluate --workdir runs/camvid",
    "python -m jaxseg evaluate --workdir runs/camvid --step best --json scores.json",
    "python -m jaxseg evaluate --workdir runs/camvid --step 2000 --config.eval.boundary",
    "python -m jaxseg evaluate --weights pspnet_r101_ade20k --config.data.root=ADE20K",
    "python -m jaxseg evaluate --workdir runs/psp --config.eval.protocol=sliding "
    "'--config.eval.crop=(473, 473)' --config.eval.flip "
    "'--config.eval.scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75)'",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, evaluates, prints the metrics."""
    parser = Parser(
        "evaluate",
        "Evaluates a checkpoint on the run's evaluation split, or a published network on the\n"
        "given data set with its authors' protocol, and prints their figure beside ours.",
        _EXAMPLES,
    )
    add_network(parser)
    add_json(parser)
    add_distributed(parser)
    parser.add_argument(
        "--config.FIELD",
        metavar="VALUE",
        help="override a field of eval or data; repeatable",
    )
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    check_network(args)
    step = parse_step(args.step)
    fields = scoring_values(overrides)

    from jaxseg.distributed.multihost import joined

    with joined(args.distributed) as first, json_output(args.json if first else None) as put:
        from jaxseg.checkpoint.workdir import Workdir
        from jaxseg.evaluation.evaluator import evaluate_workdir
        from jaxseg.pretrained.zoo.names import is_name

        if args.workdir is not None and not is_name(args.workdir):
            Workdir.existing(args.workdir)

        scores = evaluate_workdir(args.weights or args.workdir, step, fields)
        if first:
            put(scores)
            for name, value in fields.items():
                print(f"{name} = {value!r}")
            print(score_table(scores))
