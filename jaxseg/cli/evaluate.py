"""`python -m jaxseg evaluate`: the scores of a checkpoint."""

import pathlib
from collections.abc import Sequence

from jaxseg.cli.parser import Parser
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
    args = parser.parse_args(argv)
    if args.step not in ("last", "best") and not args.step.isdecimal():
        raise InputError(
            f"--step is {args.step!r}.", "Give 'last', 'best' or the number of a step."
        )
    step = int(args.step) if args.step.isdecimal() else args.step

    from jaxseg.evaluate import evaluate_workdir

    print(score_table(evaluate_workdir(args.workdir, step=step)))
