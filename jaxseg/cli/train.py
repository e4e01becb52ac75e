"""`python -m jaxseg train`: trains a network from a config file, then evaluates it."""

import contextlib
import datetime
import pathlib
import re
import shlex
from collections.abc import Sequence

from jaxseg.cli.config_options import read_stages, split_overrides, split_spec
from jaxseg.cli.json_output import Put, add_json, json_output
from jaxseg.cli.options import add_data, add_distributed, data_overrides
from jaxseg.cli.parser import Parser
from jaxseg.cli.score_table import score_table
from jaxseg.errors import InputError
from jaxseg.utils.access import reason

_EXAMPLES = (
    "python -m jaxseg train --config configs/quickstart.py",
    "python -m jaxseg train --config configs/camvid_fcn8s.py:full --workdir runs/camvid",
    "python -m jaxseg train --config configs/fcn8s.py:staged --config.data.root=VOCdevkit/VOC2012",
    "python -m jaxseg train --config configs/fcn8s.py --config.optim.lr=1e-4 "
    "'--config.augment.crop=(321, 321)'",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, trains, prints the metrics."""
    parser = Parser(
        "train",
        "Trains a network from a config file, then evaluates it.\n"
        "If interrupted, run the same command with the same --workdir to resume.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="PATH[:ARG]",
        help="config file and its argument, a recipe such as quickstart, or a run's config.json",
    )
    # only for --help: split_overrides removes these options before this parser sees them
    parser.add_argument("--config.FIELD", metavar="VALUE", help="set a config field; repeatable")
    parser.add_argument(
        "--workdir",
        type=pathlib.Path,
        metavar="DIR",
        help="folder for the results of the run (default: a new one in runs/)",
    )
    add_data(parser)
    add_json(parser)
    add_distributed(parser)
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    overrides += data_overrides(args)
    if args.distributed and args.workdir is None:
        raise InputError(
            "--distributed needs --workdir; otherwise each process would create its own folder.",
            "Give a --workdir on a disk that all machines share.",
        )
    stages = read_stages(args.config, overrides)
    workdir = args.workdir or new_workdir(args.config)
    try:
        with json_output(args.json) as put:
            _train(stages, workdir, args.distributed, put)
    finally:
        if args.workdir is None:
            with contextlib.suppress(OSError):
                workdir.rmdir()  # if the run wrote nothing
                workdir.parent.rmdir()


def _train(stages, workdir: pathlib.Path, distributed: bool, put: Put) -> None:
    from jaxseg.distributed.multihost import joined

    with joined(distributed) as first:
        say = print if first else _silent
        say(f"workdir: {workdir}", flush=True)
        if not stages[0][0]:
            from jaxseg.training.loop import train

            scores = train(stages[0][1], workdir)
            if first:
                put(scores)
            say(score_table(scores))
            say(_next(workdir))
            return
        from jaxseg.training.stages import train_stages

        scores = train_stages(stages, workdir, say)
        if first:
            put(scores)
        for name, of_stage in scores.items():
            say(f"\n{name}\n{score_table(of_stage)}")
        say(_next(workdir))


def _next(workdir: pathlib.Path) -> str:
    """Lines with the paths of the results and with the next commands."""
    from jaxseg.checkpoint.workdir import Workdir, run_folder

    folder = Workdir(run_folder(workdir))
    lines = ["", f"metrics: {folder.scores}"]
    lines += [f"sample predictions: {folder.picture}"] * folder.picture.is_file()
    name = shlex.quote(str(workdir))
    lines += [
        f"label images: python -m jaxseg predict --workdir {name} IMAGE --out predictions",
        f"report page: python -m jaxseg report --workdir {name} --out report.html",
    ]
    return "\n".join(lines)


def _silent(*_, **__) -> None:
    """Prints nothing; for all processes except the first."""


def new_workdir(spec: str, root: pathlib.Path = pathlib.Path("runs")) -> pathlib.Path:
    """Creates a new folder, named after the config and the time."""
    path, argument = split_spec(spec)
    name = re.sub(r"[^\w.-]+", "_", "-".join(filter(None, [path.stem, argument])))
    base = f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    workdir, count = root / base, 1
    while True:
        try:
            root.mkdir(parents=True, exist_ok=True)
            workdir.mkdir()  # fails if another run began in the same second
            return workdir
        except FileExistsError:
            count += 1
            workdir = root / f"{base}-{count}"
        except OSError as error:
            raise InputError(
                f"No workdir can be created in {root.absolute()}: {reason(error)}.",
                "Give a --workdir that you can write to.",
            ) from None
