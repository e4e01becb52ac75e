"""`python -m jaxseg doctor`: checks whether this machine is ready for a run."""

import pathlib
from collections.abc import Sequence

from jaxseg.cli.config_options import read_config, split_overrides
from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.options import add_data_options, add_distributed, data_overrides
from jaxseg.cli.parser import Parser

_EXAMPLES = (
    "python -m jaxseg doctor",
    "python -m jaxseg doctor --workdir /mnt/runs/first --data camvid --root CamVid",
    "python -m jaxseg doctor --distributed",
)


def main(argv: Sequence[str]) -> int | None:
    """Parses the options, prints a line per check; returns 2 if a run would fail."""
    parser = Parser(
        "doctor",
        "Checks versions, devices, memory, the workdir and the data before a run, and gives a fix\n"
        "for each problem. Exits with code 2 if a run would fail.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--workdir",
        type=pathlib.Path,
        default=pathlib.Path("runs"),
        metavar="DIR",
        help="folder that the run would write to (default: runs)",
    )
    add_data_options(parser)
    add_json(parser)
    add_distributed(parser)
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    overrides += data_overrides(args)
    named = args.config is not None or bool(overrides)
    config = read_config(args.config, overrides) if named else None

    from jaxseg.benchmark.doctor import examine, in_words
    from jaxseg.distributed.multihost import joined

    with json_output(args.json) as put, joined(args.distributed) as first:
        findings = []
        for finding in examine(args.workdir, config):
            findings.append(finding)
            if first or finding.state == "wrong":
                print(in_words(finding), flush=True)
        put([finding._asdict() for finding in findings])
    return 2 if any(finding.state == "wrong" for finding in findings) else None
