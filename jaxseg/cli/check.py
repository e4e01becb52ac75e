"""`python -m jaxseg check`: lists all problems of a data set."""

import argparse
from collections.abc import Sequence

from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.options import add_data_options, parse_data_options
from jaxseg.cli.parser import Parser

_EXAMPLES = (
    "python -m jaxseg check --data folder --root photos",
    "python -m jaxseg check --data voc2012 --root VOCdevkit/VOC2012 --split train_aug val",
    "python -m jaxseg check --config configs/camvid_fcn8s.py --root camvid --json",
)


def main(argv: Sequence[str]) -> int:
    """Parses the options, checks the data, prints the report; returns 2 if there is a problem."""
    parser = Parser(
        "check",
        "Reads every file of a data set and lists all problems: missing and unpaired files,\n"
        "files that cannot be decoded, masks of the wrong size, coloured masks, values that are\n"
        "not a class, masks without labels, classes that never occur, images in two splits.\n"
        "Exits with code 2 if there is a problem. Also prints the share of each class, class\n"
        "weights to paste, and the mean and std of each channel.",
        _EXAMPLES,
    )
    add_data_options(parser)
    parser.add_argument(
        "--split", nargs="+", default=(), metavar="NAME",
        help="splits to check, training split first (default: those of the config)",
    )  # fmt: skip
    add_json(parser)
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--threads", type=int, default=8, metavar="N", help="files read in parallel (default: 8)"
    )
    args, config = parse_data_options(parser, argv)

    import tqdm

    from jaxseg.data.check import check_data

    with json_output("-" if args.format == "json" else args.json) as put:
        report = check_data(
            config.data,
            args.split,
            config.seed,
            args.threads,
            lambda items, total: tqdm.tqdm(items, total=total, unit="image", disable=None),
        )
        put(report.as_dict())
        print(_text(report))
    return 2 if report.problems else 0


def _text(report) -> str:
    lines = []
    for split, counts in report.splits.items():
        total = int(counts.pixels.sum())
        share = counts.ignored / max(total + counts.ignored, 1)
        lines += [f"split {split}: {counts.images:,} masks, {share:.1%} of their pixels ignored"]
        lines += [
            f"  {name:<20}{pixels:>16,}{portion:>9.2%}"
            for name, pixels, portion in zip(
                report.info.class_names, counts.pixels, counts.shares, strict=True
            )
        ]
        lines += [
            f"  --config.loss.class_weights='{_tuple(weights)}'  # {what}"
            for what, weights in (
                ("median frequency", counts.median_frequency()),
                ("ENet", counts.enet()),
            )
            if total
        ] + [""]
    if report.channels is not None:
        numbers = report.as_dict()["channels"]
        lines += [
            "channels of the training images; to normalise by them instead of the weights' values:"
        ]
        lines += [f"  --config.data.{k}='{_tuple(numbers[k])}'" for k in ("mean", "std")] + [""]
    for title, found in (("note", report.notes), ("problem", report.problems)):
        for kind in dict.fromkeys(p.kind for p in found):
            same = [p for p in found if p.kind == kind]
            lines.append(f"{title}: {kind} ({len(same)})")
            for remedy in dict.fromkeys(p.remedy for p in same):
                lines += [f"  {p.text}" for p in same if p.remedy == remedy]
                lines.append(f"    fix: {remedy}")
    count = len(report.problems)
    lines.append(f"{count} problem{'s' * (count != 1)} in '{report.info.name}'")
    return "\n".join(lines)


def _tuple(weights: Sequence[float]) -> str:
    return "(" + ", ".join(f"{w:g}" for w in weights) + ("," if len(weights) == 1 else "") + ")"
