"""`python -m jaxseg browse`: shows a data set as the network sees it, on one page."""

import itertools
import pathlib
from collections.abc import Iterator, Sequence

from jaxseg.cli.options import add_data_options, parse_data_options
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError

_EXAMPLES = (
    "python -m jaxseg browse --config configs/camvid_fcn8s.py --root camvid --out page.html",
    "python -m jaxseg browse --data ade20k --root ADEChallengeData2016 --out page.html "
    "'--config.augment.crop=(473, 473)' '--config.augment.scale=(0.5, 2)'",
    "python -m jaxseg browse --data folder --root photos --plain --split val --out page.html",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, writes the page, prints its path."""
    parser = Parser(
        "browse",
        "Writes an HTML page with the first examples of a run, after augmentation.",
        _EXAMPLES,
    )
    add_data_options(parser)
    parser.add_argument("--split", metavar="NAME", help="split (default: the training split)")
    parser.add_argument(
        "--count", type=int, default=24, metavar="N", help="number of examples (default: 24)"
    )
    parser.add_argument(
        "--plain", action="store_true", help="show the files in order, without augmentation"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, metavar="FILE", help="page to write"
    )
    args, config = parse_data_options(parser, argv)
    if args.count < 1:
        raise InputError(f"--count is {args.count}.", "Give 1 or more.")
    part = "eval" if args.split == config.data.eval_split else "train"
    if args.split is not None and part == "train":
        config.unlock()
        config.data.train_split = args.split

    from jaxseg.data import Example, open_data, train_batches
    from jaxseg.data.mixing import augmentation
    from jaxseg.models import model_from_config
    from jaxseg.report.contact_sheet import contact_sheet
    from jaxseg.report.document import write_page

    source = open_data(config.data, part, config.seed)
    count = min(args.count, len(source)) if args.plain else args.count
    batches = None
    examples: Iterator[Example]  # made one by one, because images may be large
    if args.plain:
        examples = (source[i] for i in range(count))
    else:
        model = model_from_config(config.model, source.info.num_classes, config.data)
        config.augment.on_device = False  # the page shows augmented images
        batches = train_batches(
            source,
            seed=config.seed,
            batch_size=1,
            augment=augmentation(config.augment, source, model.preprocessing.fill),
            sampling=config.data.sampling,
            prefetch=2,
        )
        drawn = itertools.islice(batches, count)
        examples = (Example(b.image[0], b.label[0], b.names[0]) for b in drawn)
    how = "as the files are" if args.plain else f"augmented, seed {config.seed}"
    split = args.split or config.data.train_split
    title = f"{source.info.name}, {split}: {count} examples, {how}"
    write_page(args.out, contact_sheet(examples, source.info, title))
    if batches is not None:
        batches.close()
    print(args.out)
