"""The words that name a data set, shared by the commands that look at one."""

import argparse
from collections.abc import Sequence

import ml_collections

from jaxseg.cli.config_args import read_config, split_overrides
from jaxseg.cli.parser import Parser


def add_data_words(parser: Parser, first: bool = False) -> None:
    """Adds --dataset, --root, --config and, for --help, the fields.

    Args:
      parser: of the verb.
      first: whether the data set's name may also stand first, without an option.
    """
    if first:
        parser.add_argument("name", nargs="?", metavar="DATASET", help="as --dataset NAME")
    parser.add_argument("--dataset", metavar="NAME", help="data set, as config.data.name")
    parser.add_argument("--root", metavar="DIR", help="its folder, as config.data.root")
    parser.add_argument(
        "--config", metavar="PATH[:ARG]", help="config file that names the data set (or the recipe)"
    )
    parser.add_argument("--config.FIELD", metavar="VALUE", help="set one field, as often as needed")


def parse_data_words(
    parser: Parser, argv: Sequence[str]
) -> tuple[argparse.Namespace, ml_collections.ConfigDict]:
    """The parsed words, and the config that they describe.

    Raises:
      InputError: a word or field is wrong.
    """
    words, overrides = split_overrides(argv)
    args = parser.parse_args(words)
    for name in (getattr(args, "name", None), args.dataset):
        if name is not None:
            overrides.append(("data.name", name))
    if args.root is not None:
        overrides.append(("data.root", args.root))
    return args, read_config(args.config, overrides)
