"""`python -m jaxseg prepare`: a data set as records that are read at once."""

import pathlib
from collections.abc import Sequence

from jaxseg.cli.data_words import add_data_words, parse_data_words
from jaxseg.cli.parser import Parser

_EXAMPLES = (
    "python -m jaxseg prepare --dataset voc2012 --data-dir data",
    "python -m jaxseg prepare --dataset cityscapes --root cityscapes --data-dir data",
    "python -m jaxseg prepare --dataset folder --root photos --data-dir data",
)


def main(argv: Sequence[str]) -> None:
    """Parses the words of the verb, prepares, prints the words that use the result."""
    parser = Parser(
        "prepare",
        "Fetches and verifies a data set's archives (or takes its folder), checks every file and\n"
        "writes one ArrayRecord file for each split. Run again, it goes on where it stopped.",
        _EXAMPLES,
    )
    add_data_words(parser)
    parser.add_argument(
        "--data-dir", type=pathlib.Path, required=True, metavar="DIR", help="folder of data sets"
    )
    parser.add_argument(
        "--split", nargs="+", default=(), metavar="NAME", help="splits (default: the usual ones)"
    )
    args, config = parse_data_words(parser, argv)

    import tqdm

    from jaxseg.data.prepare import prepare_data

    folder = prepare_data(
        config.data,
        args.data_dir,
        args.split,
        progress=lambda items: tqdm.tqdm(items, unit="image", disable=None),
    )
    print(f"--config.data.name={config.data.name} --config.data.root={folder}")
