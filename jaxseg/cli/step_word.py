"""The word that names a checkpoint of a run, shared by the commands that use one."""

from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError


def add_step(parser: Parser) -> None:
    """Adds --step."""
    parser.add_argument(
        "--step",
        default="last",
        metavar="last|best|N",
        help="newest checkpoint, best by mean IoU, or a step that was kept (default: last)",
    )


def parse_step(word: str) -> str | int:
    """The step that --step names.

    >>> parse_step("best"), parse_step("200")
    ('best', 200)
    """
    if word not in ("last", "best") and not word.isdecimal():
        raise InputError(f"--step is {word!r}.", "Give 'last', 'best' or the number of a step.")
    return int(word) if word.isdecimal() else word
