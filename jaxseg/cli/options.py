"""Options of several commands: a checkpoint's step, a trained network, a data set."""

import argparse
import os
import pathlib
from collections.abc import Sequence

import ml_collections

from jaxseg.cli.config_options import read_config, split_overrides
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError


def add_step(parser: Parser) -> None:
    """Adds --step."""
    parser.add_argument(
        "--step",
        default="last",
        metavar="last|best|N",
        help="newest checkpoint, best one by mean IoU, or the one of step N (default: last)",
    )


def parse_step(word: str) -> str | int:
    """Parses the value of --step.

    >>> parse_step("best"), parse_step("200")
    ('best', 200)
    """
    if word not in ("last", "best") and not word.isdecimal():
        raise InputError(f"--step is {word!r}.", "Give 'last', 'best' or the number of a step.")
    return int(word) if word.isdecimal() else word


def add_network(parser: Parser) -> None:
    """Adds --workdir, --weights and --step."""
    parser.add_argument("--workdir", type=network_name, metavar="DIR", help="workdir of a run")
    parser.add_argument(
        "--weights",
        type=network_name,
        metavar="NAME",
        help="instead of --workdir: a name listed by `python -m jaxseg models`, hf://owner/repo, a "
        "folder written by `python -m jaxseg convert`, or a file of published weights",
    )
    add_step(parser)


def network_name(text: str) -> str | os.PathLike:
    """A path, or the URL of a Hub repository, which would lose a slash as a path."""
    return text if text.startswith("hf://") else pathlib.Path(text)


def check_network(args: argparse.Namespace) -> None:
    """Raises InputError unless the options name exactly one network."""
    if (args.workdir is None) == (args.weights is None):
        raise InputError(
            "Exactly one of --workdir and --weights must name the network.",
            "Give --workdir with the workdir of a run, or --weights with a name listed by `python "
            "-m jaxseg models`, a folder written by `convert`, or a weight file.",
        )
    if args.weights is not None and args.step != "last":
        raise InputError("--step works only with --workdir.", "Remove --step.")
    parse_step(args.step)


def open_network(args: argparse.Namespace):
    """Opens the `Network` named by the options.

    Raises:
      InputError: as `check_network`, or there is no such network.
    """
    check_network(args)
    from jaxseg.checkpoint.workdir import Workdir
    from jaxseg.inference.load import load
    from jaxseg.pretrained.zoo.names import is_name

    if args.weights is not None:
        return load(args.weights)
    if is_name(args.workdir):
        return load(args.workdir)
    return load(Workdir.existing(args.workdir).path, parse_step(args.step))


def embedded_network(by: str = "--weights with ") -> pathlib.Path:
    """The folder of the network inside the package.

    Args:
      by: how the command takes a name, for the message.

    Raises:
      InputError: this installation has none.
    """
    from jaxseg.pretrained.zoo.rows import EMBEDDED, embedded

    if embedded() is None:
        raise InputError(
            "No network is given, and this installation of jaxseg has no built-in one.",
            f"Give {by}a name listed by `python -m jaxseg models`, such as pspnet_r50_ade20k, or "
            "--workdir with the workdir of a run.",
        )
    return EMBEDDED


def embedded_row(name: str | os.PathLike):
    """The registry row of the network inside the package if `name` is its folder, else None."""
    from jaxseg.pretrained.zoo.rows import EMBEDDED, embedded

    return embedded() if name == EMBEDDED else None


def embedded_name(name: str | os.PathLike) -> str:
    """The text of a name; for the folder inside the package, the name of its network."""
    row = embedded_row(name)
    return str(name) if row is None else row.name


def add_data(parser: Parser) -> None:
    """Adds --data (also --dataset) and --root."""
    parser.add_argument(
        "--data", "--dataset", dest="data", metavar="NAME", help="data set: sets config.data.name"
    )
    parser.add_argument("--root", metavar="DIR", help="its folder: sets config.data.root")


def data_overrides(args: argparse.Namespace) -> list[tuple[str, str | None]]:
    """The config overrides for these options."""
    given = {"data.name": args.data, "data.root": args.root}
    return [(name, value) for name, value in given.items() if value is not None]


def add_data_options(parser: Parser, first: bool = False) -> None:
    """Adds --data, --root, --config and, for --help, the fields.

    Args:
      parser: parser of the command.
      first: whether the name of the data set may also be the first argument, without an option.
    """
    if first:
        parser.add_argument("name", nargs="?", metavar="DATASET", help="same as --data NAME")
    add_data(parser)
    parser.add_argument(
        "--config", metavar="PATH[:ARG]", help="config file or recipe that names the data set"
    )
    parser.add_argument("--config.FIELD", metavar="VALUE", help="set a config field; repeatable")


def parse_data_options(
    parser: Parser, argv: Sequence[str]
) -> tuple[argparse.Namespace, ml_collections.ConfigDict]:
    """Parses the options, and reads the config that they define.

    Raises:
      InputError: an option or field is invalid.
    """
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    if getattr(args, "name", None) is not None:
        overrides.append(("data.name", args.name))
    overrides += data_overrides(args)
    return args, read_config(args.config, overrides)


def add_distributed(parser: Parser) -> None:
    """Adds --distributed, which makes the process one of several."""
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="run as one of several processes; launch/README.md explains how to start them",
    )
