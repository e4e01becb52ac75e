"""`python -m jaxseg sweep`: trains a config with several values of some fields."""

import contextlib
import itertools
import json
import pathlib
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from jaxseg.checkpoint.lock import running
from jaxseg.cli.config_options import read_config, split_overrides
from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.parser import Parser
from jaxseg.cli.sweep_folder import Overrides, SweepFolder, SweepRun, in_words
from jaxseg.errors import InputError, Stopped
from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.json_files import read_object
from jaxseg.utils.text_table import aligned

_EXAMPLES = (
    "python -m jaxseg sweep --config quickstart --set optim.lr=0.01,0.03,0.1 --out runs/rates",
    "python -m jaxseg sweep --config configs/camvid_pspnet.py --set optim.lr=1e-3,3e-3 "
    "--set 'augment.scale=(0.5, 2.0);(0.75, 1.5)' --random 3 --out runs/sweep",
)
_STOPPED = (75, 130)  # exit codes of a training that a signal stopped
_REPORTED = 12  # maximum number of runs on a report page


def main(argv: Sequence[str]) -> None:
    """Parses the options, trains, prints the table of results."""
    parser = Parser(
        "sweep",
        "Trains a config with every combination of the given field values, one run after another,\n"
        "and compares the runs. If interrupted, run the same command to resume; with more values,\n"
        "it trains the new runs. A failed run does not stop the others.",
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
    folder = SweepFolder(args.out, args.config, overrides, runs)  # checks every run

    failed: list[pathlib.Path] = []
    with json_output(args.json) as put:
        results = _train_all(folder, args.config, overrides, failed, args.json == "-")
        for run in folder.others:
            done = _result(folder, run)
            results += [done] if done["mean_iou"] is not None else []
        results.sort(key=lambda r: -1.0 if r["mean_iou"] is None else r["mean_iou"], reverse=True)
        write_atomic(args.out / "sweep.json", json.dumps(results, indent=1) + "\n")
        put(results)
        print(f"\n{_table(results)}")
        page = _report([r["workdir"] for r in results if r["mean_iou"] is not None], args.out)
        print(f"results: {args.out / 'sweep.json'}" + (f"\npage: {page}" if page else ""))
    if failed:
        raise InputError(
            f"{len(failed)} of {len(runs)} runs failed: {', '.join(path.name for path in failed)}.",
            "The output of each, above, has its error. Then run the same command again: finished "
            "runs are kept.",
        )


def _train_all(
    folder: SweepFolder,
    config: str,
    overrides: Overrides,
    failed: list[pathlib.Path],
    quiet: bool,
) -> list[dict[str, Any]]:
    """Trains the runs that are not finished; `failed` receives the workdirs of those that fail.

    Raises:
      Stopped: a signal stopped a run, and with it the sweep.
      InputError: a run is still being trained by another process.
    """
    results = []
    for number, run in enumerate(folder.wanted, 1):
        workdir = folder.path / run.folder
        holder = running(workdir)
        if holder is not None:  # of a killed sweep: its training goes on, and has not failed
            raise InputError(
                f"{workdir} is still being trained by {holder}.",
                "Wait until it ends, or stop it; then run the same command again.",
            )
        heading = f"run {number} of {len(folder.wanted)}: {in_words(run.fields)}"
        fields = [*overrides, *run.fields.items()]
        if _is_finished(config, fields, workdir):
            print(f"\n{heading}: is finished", flush=True)
            results.append(_result(folder, run))
            continue
        print(f"\n{heading}", flush=True)
        code = _train(config, fields, workdir, quiet)
        result = _result(folder, run)
        if code or result["mean_iou"] is None:
            failed.append(workdir)
            print(f"run {number} failed with exit code {code}", flush=True)
            result |= {"mean_iou": None, "pixel_accuracy": None}
        results.append(result)
    return results


def _is_finished(config: str, fields: Overrides, workdir: pathlib.Path) -> bool:
    """Whether a workdir contains this very run, and all of it."""
    if not (workdir / "scores.json").is_file():
        return False
    from jaxseg.training.stages import finished_scores

    try:
        return finished_scores(workdir, read_config(config, fields)) is not None
    except InputError:  # another run: `train` refuses it in its own words
        return False


def _result(folder: SweepFolder, run: SweepRun) -> dict[str, Any]:
    """The entry of a run in sweep.json; its scores are None if there are none."""
    workdir, scores = folder.path / run.folder, {}
    with contextlib.suppress(OSError, ValueError):
        scores = read_object(workdir / "scores.json")
    numbers = {key: scores.get(key) for key in ("mean_iou", "pixel_accuracy")}
    return {"workdir": str(workdir), "fields": run.fields, **numbers}


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


def _train(config: str, fields: Overrides, workdir: pathlib.Path, quiet: bool) -> int:
    """Trains in a separate process, which frees its memory at the end; returns the exit code.

    Signals to the sweep are passed to the training, which saves first.

    Args:
      config, fields: the config file and the fields to set.
      workdir: the workdir.
      quiet: whether standard output is not for the lines of the training.

    Raises:
      Stopped: the training was stopped by a signal.
    """
    words = [f"--config.{f}" + ("" if v is None else f"={v}") for f, v in fields]
    command = [sys.executable, "-m", "jaxseg", "train", "--config", config, "--workdir"]
    started: list[subprocess.Popen] = []
    received: list[int] = []

    def pass_on(number: int, _) -> None:
        received.append(number)
        for process in started:
            process.send_signal(number)

    numbers = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before = {
        number: signal.signal(number, pass_on)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup does with SIGHUP
    }
    try:
        # in a process group of its own, so that a terminal sends its signals only to this process
        process = subprocess.Popen(
            [*command, str(workdir), *words], process_group=0, stdout=2 if quiet else None
        )
        for number in received:  # before there was a process
            process.send_signal(number)
        started.append(process)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received or code in _STOPPED or -code in numbers:
        raise Stopped(f"the sweep stopped in {workdir}: run the same command to resume")
    return code


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
