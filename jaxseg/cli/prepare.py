"""`python -m jaxseg prepare`: converts a data set to fast records, or to a plain folder."""

import pathlib
from collections.abc import Sequence

from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.options import add_data_options, parse_data_options
from jaxseg.cli.parser import Parser

_EXAMPLES = (
    "python -m jaxseg prepare voc2012",
    "python -m jaxseg prepare cityscapes --root cityscapes --data-dir data",
    "python -m jaxseg prepare folder --root photos --data-dir data",
    "python -m jaxseg prepare coco --root photos --data-dir data --as folder",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, prepares the data, prints the options that use it."""
    parser = Parser(
        "prepare",
        "Downloads and verifies the archives of a data set (or reads its folder), checks every\n"
        "file and writes one ArrayRecord file per split; with --as folder: images, masks as\n"
        "palette PNGs and classes.txt. If interrupted, run the same command to resume.",
        _EXAMPLES,
    )
    add_data_options(parser, first=True)
    parser.add_argument(
        "--data-dir",
        type=pathlib.Path,
        default=pathlib.Path("~/jaxseg_data"),
        metavar="DIR",
        help="folder of data sets (default: ~/jaxseg_data)",
    )
    parser.add_argument(
        "--split",
        nargs="+",
        default=(),
        metavar="NAME",
        help="splits to prepare (default: the standard ones)",
    )
    parser.add_argument(
        "--as", dest="form", choices=("records", "folder"), default="records",
        help="records, which load fastest (default), or a plain folder of images and masks",
    )  # fmt: skip
    add_json(parser)
    args, config = parse_data_options(parser, argv)

    import tqdm

    from jaxseg.data.prepare import prepare_data
    from jaxseg.data.registry import PUBLISHED_NAMES

    with json_output(args.json) as put:
        folder = prepare_data(
            config.data,
            args.data_dir,
            args.split,
            say=print,
            progress=lambda items: tqdm.tqdm(items, unit="image", disable=None),
            form=args.form,
        )
        plain = args.form == "folder" or config.data.name in ("tfds", "hf")
        name = "folder" if plain else config.data.name
        put({"data": name, "root": folder})
        print(f"--config.data.name={name} --config.data.root={folder}")
        if config.data.band_suffixes and args.form == "folder":
            print("An image is one file there: leave config.data.band_suffixes at ().")
        if name in PUBLISHED_NAMES:
            print(f"On this machine --config.data.name={config.data.name} alone also works.")
