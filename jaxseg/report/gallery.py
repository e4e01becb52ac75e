"""The best and worst images: image, truth, prediction and errors with a slider."""

import html
from collections.abc import Sequence

import numpy as np
from PIL import Image

from jaxseg.data.shown import shown
from jaxseg.data.source import DataInfo, Example
from jaxseg.report.document import data_url
from jaxseg.report.measure import Measured
from jaxseg.visualization.palette import IGNORED, palette_image

_WIDEST = 800  # maximum width of an embedded picture in pixels
_SMALL = 240  # width in pixels below which pictures are enlarged without smoothing
_WRONG, _UNKNOWN = (214, 40, 40, 235), (128, 128, 128, 170)
_STOPS = ("photo", "truth", "prediction", "errors")


def choose_images(image_iou: np.ndarray, count: int) -> dict[str, list[int]]:
    """Selects images by the mean over the runs of each image's own mean IoU.

    Args:
      image_iou: [R, N] for R runs; NaN for an image without labels.
      count: maximum number of images of each kind.

    Returns:
      Indices by title: the best, the worst (worst first) and, for several runs, those of the
      remaining ones where the runs differ most. No image occurs twice.

    >>> choose_images(np.array([[0.2, 0.9, 0.5, 0.6], [0.3, 0.8, 0.5, 0.1]]), 1)
    {'Best': [1], 'Worst': [0], 'Where the runs differ most': [3]}
    """
    known = ~np.isnan(image_iou).any(axis=0)
    means, spread = image_iou.mean(axis=0), np.ptp(image_iou, axis=0)
    order = [int(i) for i in np.argsort(-means, kind="stable") if known[i]]
    worst = order[::-1][: min(count, len(order) // 2)]
    best = [i for i in order if i not in worst][:count]
    chosen = {"Best": best, "Worst": worst}
    if len(image_iou) > 1:
        rest = [i for i in order if i not in best + worst and spread[i] > 0]
        chosen["Where the runs differ most"] = sorted(rest, key=lambda i: -spread[i])[:count]
    return {title: indices for title, indices in chosen.items() if indices}


def gallery(runs: Sequence[Measured], count: int) -> str:
    """The HTML of the section.

    Args:
      runs: runs evaluated on the same images.
      count: number of best and of worst images.
    """
    source = runs[0].source
    parts, seen = [], np.zeros(256, bool)
    single = " single" if len(runs) == 1 else ""
    for title, indices in choose_images(np.array([r.image_iou for r in runs]), count).items():
        images = []
        for index in indices:
            example = source[index]
            seen[np.unique(example.label)] = True
            for run in runs:
                seen[np.unique(run.prediction(index))] = True
            images.append(_image(runs, index, example, source.info))
        parts.append(f'<h3>{title}</h3><div class="gallery{single}">{"".join(images)}</div>')
    return _classes(source.info, seen) + "".join(parts)


def _image(runs: Sequence[Measured], index: int, example: Example, info: DataInfo) -> str:
    height, width = example.label.shape
    name = html.escape(example.name)
    views = "".join(_view(k, run, index, example, info) for k, run in enumerate(runs))
    stops = "".join(
        f'<button type="button" data-stop="{k}">{stop}</button>' for k, stop in enumerate(_STOPS)
    )
    return (
        f'<article class="image"><h4>{name} <small>{width}×{height}</small></h4>'
        f'<div class="slider"><input type="range" min="0" max="3" step="0.05" value="2" '
        f'aria-label="{name}: from image through truth and prediction to errors" '
        f'aria-valuetext="prediction"><div class="stops">{stops}</div></div>'
        f'<div class="views">{views}</div></article>'
    )


def _view(k: int, run: Measured, index: int, example: Example, info: DataInfo) -> str:
    prediction = run.prediction(index)
    height, width = example.label.shape
    known = example.label != info.ignore_label
    wrong = known & (prediction != example.label)
    share = wrong.sum() / max(known.sum(), 1)
    errors = np.zeros((height, width, 4), np.uint8)
    errors[wrong], errors[~known] = _WRONG, _UNKNOWN
    name, run_name = html.escape(example.name), html.escape(run.name)
    layers = (
        ("photo", _photo(example.image), f"Image {name}"),
        (
            "truth",
            _flat(palette_image(example.label, info)),
            f"Truth: {_contents(example.label, info)}",
        ),
        (
            "prediction",
            _flat(palette_image(prediction, info)),
            f"Prediction of {run_name}: {_contents(prediction, info)}",
        ),
        (
            "errors",
            _flat(Image.fromarray(errors)),
            f"Errors of {run_name}: {share:.1%} of the labelled pixels are wrong",
        ),
    )
    images = "".join(
        f'<img class="{layer}" src="{url}" alt="{alt}" width="{width}" height="{height}">'
        for layer, url, alt in layers
    )
    small = " pixels" if width < _SMALL else ""
    return (
        f'<figure class="run{k % 8}"><div class="view{small}">{images}<i class="edge"></i></div>'
        f'<figcaption><i class="key"></i>{run_name} <span>mean IoU {run.image_iou[index]:.3f}, '
        f"{share:.1%} wrong</span></figcaption></figure>"
    )


def _classes(info: DataInfo, seen: np.ndarray) -> str:
    """The colours of the classes that occur in the pictures."""
    entries = [
        (name, f"rgb{colour}")
        for c, (name, colour) in enumerate(zip(info.class_names, info.palette, strict=True))
        if seen[c]
    ]
    if seen[info.ignore_label]:
        entries.append(("not labelled", f"rgb{IGNORED}"))
    entries.append(("wrong (in the errors view)", f"rgb{_WRONG[:3]}"))
    items = "".join(
        f'<li><i class="swatch" style="background: {colour}"></i>{html.escape(name)}</li>'
        for name, colour in entries
    )
    return f'<ul class="legend classes">{items}</ul>'


def _contents(labels: np.ndarray, info: DataInfo) -> str:
    """The largest classes of a label map, as a description for screen readers."""
    counts = np.bincount(labels.ravel(), minlength=256)[: info.num_classes]
    order = np.argsort(-counts, kind="stable")[:4].tolist()
    shares = [(info.class_names[c], counts[c] / labels.size) for c in order if counts[c]]
    return html.escape(", ".join(f"{name} {share:.0%}" for name, share in shares))


def _photo(image: np.ndarray) -> str:
    return data_url(_limited(Image.fromarray(shown(image)), Image.Resampling.LANCZOS), "JPEG", 85)


def _flat(image: Image.Image) -> str:
    return data_url(_limited(image, Image.Resampling.NEAREST), "PNG")


def _limited(image: Image.Image, resampling: Image.Resampling) -> Image.Image:
    if image.width <= _WIDEST:
        return image
    return image.resize((_WIDEST, round(image.height * _WIDEST / image.width)), resampling)
