"""`python -m jaxseg evaluate`: the scores of a checkpoint."""

import pathlib
from collections.abc import Sequence

from jaxseg.cli.parser import Parser, add_distributed
from jaxseg.cli.score_table import score_table
from jaxseg.errors import InputError

_EXAMPLES = (
    "python -m jaxseg evaluate --workdir runs/camvid",
    "python -m jaxseg evaluate --workdir runs/camvid --step best",
    "python -m jaxseg evaluate --workdir runs/camvid --step 2000",
)


def main(argv: Sequence[str]) -> None:
    """Parses the words of the verb, evaluates, prints the scores."""
    parser = Parser("evaluate", "Scores a checkpoint on the run's evaluation split.", _EXAMPLES)
    parser.add_argument(
        "--workdir", type=pathlib.Path, required=True, metavar="DIR", help="workdir of the run"
    )
    parser.add_argument(
        "--step",
        default="last",
        metavar="last|best|N",
        help="newest checkpoint, best by mean IoU, or a step that was kept (default: last)",
    )
    add_distributed(parser)
    args = parser.parse_args(argv)
    if args.step not in ("last", "best") and not args.step.isdecimal():
        raise InputError(
            f"--step is {args.step!r}.", "Give 'last', 'best' or the number of a step."
        )
    step = int(args.step) if args.step.isdecimal() else args.step

    from jaxseg.processes import joined

    with joined(args.distributed) as first:
        from jaxseg.evaluate import evaluate_workdir

        scores = evaluate_workdir(args.workdir, step=step)
        if first:
            print(score_table(scores))
