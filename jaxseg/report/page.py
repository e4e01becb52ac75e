"""The report: one HTML page that compares runs."""

import html
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxseg import __version__
from jaxseg.distributed.devices import devices_in_words
from jaxseg.evaluation.trained_run import TrainedRun
from jaxseg.report.charts import Series, line_chart
from jaxseg.report.document import check_place, data_url, document, write_page
from jaxseg.report.explain import activations, find_class
from jaxseg.report.folds import are_folds, fold_table, joined
from jaxseg.report.gallery import gallery
from jaxseg.report.matrix import confusion_chart, worst_confusions
from jaxseg.report.measure import Measured, measure
from jaxseg.report.runs import check_same_images, open_runs
from jaxseg.report.tables import class_bars, config_tables, legend, score_table
from jaxseg.utils.paths import given_path

_HERE = pathlib.Path(__file__).parent


def write_report(
    workdirs: Sequence[str | os.PathLike],
    out: str | pathlib.Path,
    *,
    step: str | int = "last",
    fields: Mapping[str, Any] | None = None,
    images: int = 3,
    layers: bool = False,
    class_name: str | None = None,
) -> None:
    """Evaluates runs and writes a self-contained page of metrics, charts, pictures and configs.

    Args:
      workdirs: runs evaluated on the same images, or on the folds of one data set. An unfinished
        run is shown up to its checkpoint, with a note.
      out: output file.
      step: checkpoint of each run: "last", "best" or the number of a step.
      fields: config fields of `eval` or `data` to change, by dotted name.
      images: number of best images and of worst images on the page.
      layers: whether to show the activations of the layers (DeconvNet, figure 4).
      class_name: with `layers`, the class that selects channels and image; None: the second most
        frequent class.

    Raises:
      InputError: no run or no such checkpoint in a workdir, runs that cannot be compared, no such
        class, or the page cannot be written.
    """
    path = given_path(out)
    check_place(path)
    trained = open_runs(workdirs, step, fields)
    check_same_images(trained)
    info = next(iter(trained.values())).source.info
    chosen = None if class_name is None else find_class(info, class_name)
    runs = [measure(name, run) for name, run in trained.items()]
    inside = _layers(trained, runs[0], chosen) if layers else ""
    write_page(path, page_text(runs, images, inside))


def page_text(runs: Sequence[Measured], images: int, layers: str = "") -> str:
    """Creates the HTML of the page.

    Args:
      runs: at least one.
      images: number of images to show.
      layers: HTML of the section on layers; "" leaves it out.
    """
    folds = joined(runs) if are_folds([run.config for run in runs]) else None
    return _page(runs, folds, _sections(runs, folds, images, layers))


def _sections(
    runs: Sequence[Measured], folds: Measured | None, images: int, layers: str = ""
) -> dict[str, str]:
    """The sections of the page by title; `folds`: all folds as one run, if the runs are folds."""
    table = "" if folds is None else fold_table(runs, folds)
    sections = {
        "Scores": table + score_table(runs, best=folds is None),
        "Classes": _classes(runs),
        "Confusion": _confusion(runs),
        "Learning": _learning(runs),
        "Images": _images(runs if folds is None else [folds], images),
        "Layers": layers,
        "Config": config_tables(runs),
    }
    return {title: part for title, part in sections.items() if part}


def _page(runs: Sequence[Measured], folds: Measured | None, sections: dict[str, str]) -> str:
    first = runs[0]
    info, config = first.source.info, first.config
    names = [run.name for run in runs]
    title = f"{_listed(names)} on {info.name}"
    if folds is not None:
        of = config.data.fold.partition("/")[2]
        split = f"{len(runs)} of {of} folds: {len(folds.source)} images, "
    else:
        split = f"the split {config.data.eval_split}: {len(first.source)} images, "
    split += f"{info.num_classes} classes"
    links = "".join(f'<a href="#{title.lower()}">{title}</a>' for title in sections)
    parts = "".join(
        f'<section aria-labelledby="{title.lower()}"><h2 id="{title.lower()}">{title}</h2>{part}'
        "</section>"
        for title, part in sections.items()
    )
    body = (
        f'<header><h1>{html.escape(title)}</h1><p class="lead">{html.escape(split)}</p>'
        f'<nav aria-label="Sections">{links}</nav></header><main>{parts}</main>'
        f"<footer>jaxseg {__version__}, jax {jax.__version__}, "
        f"{html.escape(devices_in_words())}</footer>"
    )
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return document(title, style, body, script)


def _classes(runs: Sequence[Measured]) -> str:
    note = (
        '<p class="note">IoU of each class, best first. Beside the name: the share of '
        "labelled pixels.</p>"
    )
    return legend(runs) + class_bars(runs) + note


def _confusion(runs: Sequence[Measured]) -> str:
    names = runs[0].source.info.class_names
    figures = []
    for k, run in enumerate(runs):
        mistakes = ", ".join(
            f"{a} as {b} {share:.0%}" for a, b, share in worst_confusions(run.confusion, names)
        )
        figures.append(
            f'<figure class="run{k % 8}"><figcaption><i class="key"></i>{html.escape(run.name)} '
            f"<span>{html.escape(mistakes)}</span></figcaption>"
            f"{confusion_chart(run.confusion, names)}</figure>"
        )
    note = (
        '<p class="note">Rows are the truth, columns the prediction; numbers are percentages of '
        "the row. Beside the name of a run: its largest confusions.</p>"
    )
    return f'<div class="charts matrices">{"".join(figures)}</div>{note}'


def _learning(runs: Sequence[Measured]) -> str:
    def series(kind: str, key: str) -> list[Series]:
        found = []
        for k, run in enumerate(runs):
            entries = [e for e in run.log if e.get("kind") == kind and key in e]
            found.append(
                Series(run.name, k % 8, [e["step"] for e in entries], [e[key] for e in entries])
            )
        return found

    charts = "".join(
        [
            line_chart("Loss in training", series("train", "loss"), "step", smooth=True),
            line_chart("Mean IoU in evaluation", series("eval", "mean_iou"), "step", unit=True),
            line_chart("Learning rate", series("train", "learning_rate"), "step"),
        ]
    )
    if not charts:
        return '<p class="note">Nothing has been logged yet.</p>'
    return f'{legend(runs)}<div class="charts">{charts}</div>'


def _images(runs: Sequence[Measured], count: int) -> str:
    series = []
    for k, run in enumerate(runs):
        values = np.sort(run.image_iou[~np.isnan(run.image_iou)])
        shares = np.linspace(0, 100, len(values)) if len(values) > 1 else [50.0]
        series.append(Series(run.name, k % 8, list(shares), values.tolist()))
    chart = line_chart("Mean IoU of each image", series, "images, worst first, %", unit=True)
    note = (
        '<p class="note">Each image by its own mean IoU'
        + (", averaged over the runs" if len(runs) > 1 else "")
        + ". The slider goes from the image through truth and prediction to the errors.</p>"
    )
    return f'{legend(runs)}<div class="charts">{chart}</div>{note}{gallery(runs, count)}'


def _layers(trained: dict[str, TrainedRun], first: Measured, chosen: int | None) -> str:
    """Draws the activations of each network for the image with most pixels of a class."""
    if chosen is None:
        chosen = int(np.argsort(-first.image_pixels.sum(axis=0), kind="stable")[1])
    index = int(first.image_pixels[:, chosen].argmax())
    name, example = first.source.info.class_names[chosen], first.source[index]
    what = (
        f"{example.name}. Each layer shows the channel that matches {name} best; logits "
        "layers show "
    )
    what += f"that of {name}. Dark is the lowest value, bright the highest."
    parts = [f'<p class="note">{html.escape(what)}</p>']
    for run_name, run in trained.items():
        tiles = [tile for row in activations(run, example, chosen) for tile in row]
        parts.append(f'<h3>{html.escape(run_name)}</h3><div class="layers">')
        for caption, picture in tiles:
            kind = "JPEG" if caption == "photo" else "PNG"
            alt = html.escape(f"{run_name}: {caption}")
            parts.append(
                f'<figure><img src="{data_url(Image.fromarray(picture), kind)}" alt="{alt}" '
                f'style="aspect-ratio: {example.label.shape[1]} / {example.label.shape[0]}">'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )
        parts.append("</div>")
    return "".join(parts)


def _listed(names: Sequence[str]) -> str:
    """
    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
