"""`python -m jaxseg sweep`: trains a config with several values of some fields."""

import itertools
import json
import pathlib
import random
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from jaxseg.checkpoint.lock import running
from jaxseg.cli.config_options import read_stages, split_overrides
from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError
from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.json_files import read_object
from jaxseg.utils.text_table import aligned

_EXAMPLES = (
    "python -m jaxseg sweep --config quickstart --set optim.lr=0.01,0.03,0.1 --out runs/rates",
    "python -m jaxseg sweep --config configs/camvid_pspnet.py --set optim.lr=1e-3,3e-3 "
    "--set 'augment.scale=(0.5, 2.0);(0.75, 1.5)' --random 3 --out runs/sweep",
)
_REPORTED = 12  # maximum number of runs on a report page


def main(argv: Sequence[str]) -> int | None:
    """Parses the options, trains, prints the table of results."""
    parser = Parser(
        "sweep",
        "Trains a config with every combination of the given field values, one run after another,\n"
        "and compares the runs. If interrupted, run the same command to resume.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--config", required=True, metavar="PATH[:ARG]", help="config file or recipe"
    )
    parser.add_argument(
        "--config.FIELD", metavar="VALUE", help="set a config field in all runs; repeatable"
    )
    parser.add_argument(
        "--set",
        action="append",
        required=True,
        dest="sets",
        metavar="FIELD=V1,V2,...",
        help="field and its values, separated by commas, or by ; if a value contains a comma; "
        "repeatable",
    )
    parser.add_argument(
        "--random",
        type=int,
        metavar="N",
        help="train only N combinations, chosen at random (always the same ones)",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        required=True,
        metavar="DIR",
        help="folder for the workdirs of the runs",
    )
    add_json(parser)
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    fields = [_values(text) for text in args.sets]
    names = [field for field, _ in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"--set {twice} is given twice.", "Give all its values in one --set.")
    combinations = list(itertools.product(*(values for _, values in fields)))
    if args.random is not None:
        if not 1 <= args.random <= len(combinations):
            raise InputError(
                f"--random is {args.random}, but there are {len(combinations)} combinations.",
                f"Give 1 to {len(combinations)}, or remove --random.",
            )
        combinations = random.Random(0).sample(combinations, args.random)
    runs = [list(zip(names, values, strict=True)) for values in combinations]
    for run in runs:  # checks all before the first one begins
        if len(read_stages(args.config, [*overrides, *run])) > 1:
            raise InputError(
                f"{args.config} trains in stages, which sweep does not support.",
                "Give the config of a single stage.",
            )
    _check_same_sweep(args.out, args.config, overrides, fields)

    with json_output(args.json) as put:
        results: list[dict[str, Any]] = []
        for number, run in enumerate(runs, 1):
            workdir = args.out / _folder(number, run)
            holder = running(workdir)
            if holder is not None:  # of a killed sweep: its training goes on, and has not failed
                raise InputError(
                    f"{workdir} is still being trained by {holder}.",
                    "Wait until it ends, or stop it; then run the same command again.",
                )
            print(f"\nrun {number} of {len(runs)}: {_in_words(run)}", flush=True)
            code = _train(args.config, overrides, run, workdir)
            if code not in (0, 2):  # stopped or killed: the sweep stops too
                return code
            scores = workdir / "scores.json"
            found = read_object(scores) if code == 0 and scores.is_file() else {}
            results.append({"workdir": str(workdir), "fields": dict(run),
                            "mean_iou": found.get("mean_iou"),
                            "pixel_accuracy": found.get("pixel_accuracy")})  # fmt: skip
        results.sort(key=lambda r: -1.0 if r["mean_iou"] is None else r["mean_iou"], reverse=True)
        write_atomic(args.out / "sweep.json", json.dumps(results, indent=1) + "\n")
        put(results)
        print(f"\n{_table(results)}")
        page = _report([r["workdir"] for r in results if r["mean_iou"] is not None], args.out)
        print(f"results: {args.out / 'sweep.json'}" + (f"\npage: {page}" if page else ""))
    return None if any(r["mean_iou"] is not None for r in results) else 2


def _values(text: str) -> tuple[str, list[str]]:
    """Parses a field and its values."""
    field, equals, values = text.partition("=")
    field = field.removeprefix("config.")
    found = [v.strip() for v in (values.split(";") if ";" in values else _parts(values))]
    if not equals or not all(found):
        raise InputError(
            f"--set {text!r} does not have the form FIELD=V1,V2,...",
            "Give a field and its values, such as --set optim.lr=0.01,0.03.",
        )
    if len(set(found)) < len(found):
        raise InputError(f"--set {text!r} has a value twice.", "Give each value once.")
    return field, found


def _parts(values: str) -> list[str]:
    """Splits at the commas outside brackets.

    >>> _parts("(64, 64),(32, 32),None")
    ['(64, 64)', '(32, 32)', 'None']
    """
    parts, depth = [""], 0
    for letter in values:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _check_same_sweep(out: pathlib.Path, config: str, overrides: Any, fields: Any) -> None:
    """Raises InputError if `out` contains another sweep; writes the options into a new one."""
    about = json.loads(json.dumps({"config": config, "config_fields": overrides, "set": fields}))
    path = out / "about.json"
    if path.is_file():
        try:
            same = read_object(path) == about
        except ValueError:
            same = False
        if not same:
            raise InputError(
                f"{out} contains a sweep with other options.",
                f"Give another --out, or the options in {path}.",
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and contains no sweep.", "Give another --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(about, indent=1) + "\n")


def _folder(number: int, run: Sequence[tuple[str, str]]) -> str:
    fields = ",".join(f"{field}={value}" for field, value in run)
    return f"{number:02}_" + re.sub(r"[^\w.=,+-]+", "_", fields)[:100]


def _in_words(run: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{field} = {value}" for field, value in run)


def _train(
    config: str,
    overrides: Sequence[tuple[str, str | None]],
    run: Sequence[tuple[str, str]],
    workdir: pathlib.Path,
) -> int:
    """Trains in a separate process, which frees its memory at the end; returns the exit code.

    Signals to the sweep are passed to the training, which saves first.
    """
    fields = [f"--config.{f}" + ("" if v is None else f"={v}") for f, v in [*overrides, *run]]
    command = [sys.executable, "-m", "jaxseg", "train", "--config", config, "--workdir"]
    # in a process group of its own, so that a terminal sends its signals only to this process
    process = subprocess.Popen([*command, str(workdir), *fields], process_group=0)
    numbers = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before = {
        number: signal.signal(number, lambda number, _: process.send_signal(number))
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup does with SIGHUP
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _table(results: Sequence[dict[str, Any]]) -> str:
    """The table of runs, best first."""
    rows = [["", "mean IoU", "accuracy", *results[0]["fields"]]]
    for number, result in enumerate(results):
        numbers = [
            "failed" if result[key] is None else f"{result[key]:.4f}"
            for key in ("mean_iou", "pixel_accuracy")
        ]
        best = "best" if not number and result["mean_iou"] is not None else ""
        rows.append([best, *numbers, *result["fields"].values()])
    return "\n".join(line.rstrip() for line in aligned(rows))


def _report(workdirs: Sequence[str], out: pathlib.Path) -> pathlib.Path | None:
    """Writes a page of the best runs; None if none is finished, or they are not comparable."""
    if not workdirs:
        return None
    from jaxseg.report.page import write_report

    page = out / "report.html"
    try:
        write_report([pathlib.Path(w) for w in workdirs[:_REPORTED]], page)
    except InputError as error:  # the sweep varied fields of data or eval
        print(f"no report page: {error.problem}")
        return None
    return page
