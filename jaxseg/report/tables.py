"""The tables of a report: metrics, classes, configs."""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxseg.config import default_config, flatten
from jaxseg.report.measure import Measured

TITLES = {
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "mean_dice": "mean Dice",
    "mean_boundary_iou": "boundary IoU",
}
_ABSENT = {
    "nan": "left out of the means",
    "zero": "counted as 0 in the means",
    "one": "counted as 1 in the means",
}


def score_table(runs: Sequence[Measured], *, best: bool = True) -> str:
    """A row per run: its metrics, with the best of each in bold if `best`, its size and speed."""
    scores = [key for key in TITLES if any(key in run.scores for run in runs)]
    heads = ["run", *map(TITLES.get, scores), "parameters", "GFLOPs", "images/s", "input", "step"]
    highest = {key: max(run.scores.get(key, 0) for run in runs) for key in scores}
    bold = best and len(runs) > 1
    rows = []
    for k, run in enumerate(runs):
        last = run.config.train.steps
        cells = [(TITLES[key], *_score(run.scores.get(key), highest[key], bold)) for key in scores]
        cells += [
            ("parameters", _millions(run.parameters), False),
            ("GFLOPs", _three_digits(run.flops / 1e9), False),
            ("images/s", _three_digits(run.images_per_second), False),
            ("input", "×".join(map(str, run.input_size[::-1])), False),
            ("step", f"{run.step}" if run.finished else f"{run.step} of {last}", False),
        ]
        rows.append(
            f'<tr class="run{k % 8}"><th scope="row"><i class="key"></i>{html.escape(run.name)}'
            f"<small>{html.escape(_network(run))}</small></th>"
            + "".join(
                f'<td data-label="{label}">{f"<b>{value}</b>" if strong else value}</td>'
                for label, value, strong in cells
            )
            + "</tr>"
        )
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    return (
        f'<div class="scroll"><table class="scores"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{_score_notes(runs)}"
    )


def _score_notes(runs: Sequence[Measured]) -> str:
    notes = [
        f"Step {run.step} of {run.config.train.steps}: the run {html.escape(run.name)} has not "
        "reached its last step."
        for run in runs
        if not run.finished
    ]
    batches = " or ".join(str(b) for b in sorted({r.batch_size for r in runs}))
    protocols = _same_or_each(runs, [run.scores["protocol"] for run in runs])
    absent = _same_or_each(runs, [_ABSENT[run.scores["absent"]] for run in runs])
    notes += [
        f"Protocol: {protocols}. One confusion matrix counts all images, at the full size of the "
        f"labels. A class in neither truth nor prediction is {absent}.",
        "GFLOPs: the products of the network for one image or window of the input size "
        "(width×height); a multiplication and an addition count as two. images/s: measured when "
        f"this page was written, in batches of {batches} through network, upsampling and argmax "
        "on one device, without reading files.",
    ]
    return "".join(f'<p class="note">{note}</p>' for note in notes)


def _score(value: float | None, best: float, several: bool) -> tuple[str, bool]:
    """A metric as text, and whether it is the best of several."""
    return ("–", False) if value is None else (f"{value:.3f}", several and value == best)


def _same_or_each(runs: Sequence[Measured], texts: Sequence[str]) -> str:
    """One statement if it is the same for all runs, otherwise one per run."""
    if len(set(texts)) == 1:
        return html.escape(texts[0])
    return html.escape(
        "; ".join(f"{run.name}: {text}" for run, text in zip(runs, texts, strict=True))
    )


def class_bars(runs: Sequence[Measured]) -> str:
    """A bar with the IoU of each class and run, the best classes first."""
    info = runs[0].source.info
    iou = np.array([run.scores["iou"] for run in runs], float)
    known = ~np.isnan(iou)
    means = np.where(known, iou, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    means[~known.any(axis=0)] = -1  # sorts them last
    shares = runs[0].confusion.sum(axis=1) / runs[0].confusion.sum()
    items = []
    for c in np.argsort(-means, kind="stable").tolist():
        bars = "".join(_bar(k, v) for k, v in enumerate(iou[:, c].tolist()))
        items.append(
            '<li><span class="name">'
            f'<i class="swatch" style="background: rgb{info.palette[c]}"></i>'
            f"{html.escape(info.class_names[c])} <small>{_share(shares[c])}</small></span>"
            f'<span class="values">{bars}</span></li>'
        )
    return f'<ul class="bars">{"".join(items)}</ul>'


def _bar(run: int, iou: float) -> str:
    percent, told = (0, "absent") if math.isnan(iou) else (100 * iou, f"{iou:.2f}")
    return (
        f'<span class="bar run{run % 8}"><i style="width: {percent:.1f}%"></i><b>{told}</b></span>'
    )


def config_tables(runs: Sequence[Measured]) -> str:
    """The fields that differ between runs or from the defaults, and all fields, collapsed."""
    flats, defaults = [flatten(run.config) for run in runs], flatten(default_config())
    telling = [f for f in defaults if any(flat[f] != defaults[f] for flat in flats)]
    return (
        _field_table(runs, flats, telling)
        + "<details><summary>All fields</summary>"
        + _field_table(runs, flats, list(defaults))
        + "</details>"
    )


def _field_table(
    runs: Sequence[Measured], flats: Sequence[dict[str, Any]], fields: Sequence[str]
) -> str:
    rows = []
    for field in fields:
        values = [str(flat[field]) for flat in flats]
        differ = ' class="differ"' if len(set(values)) > 1 else ""
        cells = "".join(f"<td>{html.escape(value)}</td>" for value in values)
        rows.append(f'<tr{differ}><th scope="row">{field}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{html.escape(run.name)}</th>' for run in runs)
    return (
        '<div class="scroll" tabindex="0" role="group" aria-label="config fields">'
        f'<table class="fields"><thead><tr><th scope="col">field</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def legend(runs: Sequence[Measured]) -> str:
    """The colours of the runs; empty for a single run."""
    if len(runs) == 1:
        return ""
    items = "".join(
        f'<li class="run{k % 8}"><i class="key"></i>{html.escape(run.name)}</li>'
        for k, run in enumerate(runs)
    )
    return f'<ul class="legend">{items}</ul>'


def _network(run: Measured) -> str:
    width = "" if run.config.model.width == 1 else f", width {run.config.model.width:g}"
    return f"{run.config.model.name}{width}"


def _millions(count: int) -> str:
    return f"{_three_digits(count / 1e6)} M" if count >= 1e6 else f"{_three_digits(count / 1e3)} k"


def _three_digits(value: float) -> str:
    """
    >>> _three_digits(134.27), _three_digits(2.598), _three_digits(0.4309), _three_digits(1934.2)
    ('134', '2.60', '0.431', '1934')
    """
    if math.isnan(value):
        return "unknown"
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{max(digits, 0)}f}"


def _share(value: float) -> str:
    return f"{value:.0%}" if value >= 0.01 or value == 0 else "<1%"
