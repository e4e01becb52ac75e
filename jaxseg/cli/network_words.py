"""The words that name a trained network, shared by the commands that use one."""

import argparse
import pathlib

from jaxseg.cli.parser import Parser
from jaxseg.cli.step_word import add_step, parse_step
from jaxseg.errors import InputError


def add_network(parser: Parser) -> None:
    """Adds --workdir, --weights and --step."""
    parser.add_argument(
        "--workdir", type=pathlib.Path, metavar="DIR", help="workdir of the run whose network it is"
    )
    parser.add_argument(
        "--weights",
        type=pathlib.Path,
        metavar="DIR",
        help="or the folder of a network, as `python -m jaxseg convert` writes it",
    )
    add_step(parser)


def check_network(args: argparse.Namespace) -> None:
    """Raises InputError unless the words name one network."""
    if (args.workdir is None) == (args.weights is None):
        raise InputError(
            "The network is named by --workdir or by --weights, one of them.",
            "Give --workdir with the workdir of a run, or --weights with a folder of convert.",
        )
    if args.weights is not None and args.step != "last":
        raise InputError("--step is for --workdir.", "Leave it out.")
    parse_step(args.step)


def open_network(args: argparse.Namespace):
    """The `Network` that the words name.

    Raises:
      InputError: as `check_network`, or there is no such network.
    """
    check_network(args)
    from jaxseg.inference.network import open_exported, open_run

    if args.weights is not None:
        return open_exported(args.weights)
    return open_run(args.workdir, parse_step(args.step))
