"""`python -m jaxseg models`: lists the networks available by name."""

import argparse
from collections.abc import Sequence
from typing import Any

from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError, nearest
from jaxseg.utils.text_table import aligned

_EXAMPLES = (
    "python -m jaxseg models",
    "python -m jaxseg models pspnet_r50 --data cityscapes",
    "python -m jaxseg models --data ade20k --json",
)
_FORMATS = ("table", "json")


def main(argv: Sequence[str]) -> None:
    """Parses the options, prints the rows."""
    parser = Parser(
        "models",
        "Lists the published networks and backbones available by name, as in `predict --weights\n"
        "NAME`, `--config.init.pretrained=NAME` and jaxseg.load(NAME). A file is downloaded the\n"
        "first time it is used.",
        _EXAMPLES,
    )
    parser.add_argument("filter", nargs="?", default="", metavar="PART", help="part of a name")
    parser.add_argument("--data", metavar="NAME", help="only this data set, such as ade20k")
    add_json(parser)
    parser.add_argument("--format", default="table", help=argparse.SUPPRESS)  # older form of --json
    args = parser.parse_args(argv)
    if args.format not in _FORMATS:
        raise InputError(f"--format is {args.format!r}.", nearest(args.format, _FORMATS))

    from jaxseg.pretrained.zoo.converted import is_cached
    from jaxseg.pretrained.zoo.rows import list_pretrained

    rows = list_pretrained(args.filter)
    if args.data is not None:
        known = {row.data for row in list_pretrained()}
        if not args.data or not any(args.data.lower() in data for data in known):
            raise InputError(
                f"No network is trained on a data set '{args.data}'.", nearest(args.data, known)
            )
        rows = [row for row in rows if args.data.lower() in row.data]
    if not rows:
        raise InputError(
            f"No network name contains '{args.filter}'"
            + (f" for {args.data}." if args.data else "."),
            "Run `python -m jaxseg models` to list all names.",
        )
    with json_output("-" if args.format == "json" else args.json) as put:
        put([dict(row) | {"aliases": row.aliases, "cached": is_cached(row)} for row in rows])
        _print(rows)


def _print(rows) -> None:
    from jaxseg.pretrained.zoo.converted import is_cached

    for line in aligned([_HEADER, *(_cells(row, is_cached(row)) for row in rows)], _NUMBERS):
        print(line.rstrip())
    cached = sum(is_cached(row) for row in rows)
    print(f"\n{len(rows)} networks and backbones, {cached} in the cache")


_HEADER = ("name", "data", "classes", "mean IoU", "parameters", "licence", "cached")
_NUMBERS = (2, 3, 4)  # indices of columns with numbers


def _cells(row: Any, cached: bool) -> tuple[str, ...]:
    return (
        row.name,
        row.data,
        str(row.num_classes or ""),
        "" if row.mean_iou is None else f"{row.mean_iou:.4f}",
        "" if row.parameters is None else f"{row.parameters / 1e6:.1f} M",
        row.licence or "unknown",
        "yes" if cached else "",
    )
