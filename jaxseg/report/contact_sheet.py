"""A self-contained HTML page of examples as the network will see them."""

import html
from collections.abc import Iterable

import numpy as np
from PIL import Image

from jaxseg.data.counts import value_counts
from jaxseg.data.shown import shown
from jaxseg.data.source import DataInfo, Example
from jaxseg.report.document import data_url, document
from jaxseg.visualization.palette import IGNORED, has_background, palette_image

_STYLE = """
:root { color-scheme: light dark; --cover: 0.5; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 110rem; padding: 1rem 1.5rem 3rem; }
h1 { font-size: 1.3rem; margin: 0 0 .25rem; }
.bar { position: sticky; top: 0; padding: .6rem 0; background: Canvas; z-index: 1;
  border-bottom: 1px solid color-mix(in srgb, CanvasText 20%, Canvas); }
.bar label { display: inline-flex; gap: .5rem; align-items: center; }
.classes { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .5rem 0 0; padding: 0;
  list-style: none; max-height: 7.5rem; overflow: auto; }
.classes i { display: inline-block; width: .9em; height: .9em; margin-right: .4em;
  vertical-align: -.1em; border: 1px solid #8888; }
.grid { display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; }
.both { position: relative; background: #8884; }
.both img { display: block; width: 100%; height: auto; image-rendering: pixelated; }
.both img + img { position: absolute; inset: 0; height: 100%; opacity: var(--cover); }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
figcaption span { opacity: .7; }
"""
_SCRIPT = """
const slider = document.querySelector("input");
const cover = () => document.documentElement.style.setProperty("--cover", slider.value);
slider.addEventListener("input", cover);
cover();
"""


def contact_sheet(examples: Iterable[Example], info: DataInfo, title: str) -> str:
    """Creates the page: each example's image with its coloured labels on top, and its classes.

    Args:
      examples: image for `shown`, label uint8 [H, W]; their sizes may differ.
      info: the classes.
      title: one line.

    Returns:
      HTML with embedded pictures; a slider sets the opacity of the labels.
    """
    total = np.zeros(256, np.int64)
    figures = []
    for image, label, name in examples:
        counts = value_counts(label)
        total += counts
        photo = data_url(Image.fromarray(shown(image)), "JPEG")
        figures.append(
            f'<figure><div class="both"><img src="{photo}" '
            f'alt="{html.escape(name)}" width="{label.shape[1]}" height="{label.shape[0]}">'
            f'<img src="{_cover(label, info)}" alt=""></div>'
            f"<figcaption>{html.escape(name)} <span>{label.shape[1]}×{label.shape[0]}: "
            f"{html.escape(_contents(counts, info))}</span></figcaption></figure>"
        )
    shares = total / max(total.sum(), 1)
    entries = [
        (name, colour, shares[i])
        for i, (name, colour) in enumerate(zip(info.class_names, info.palette, strict=True))
    ]
    entries.append(("ignored", IGNORED, 1 - shares[: info.num_classes].sum()))
    classes = "".join(
        f'<li><i style="background: rgb{colour}"></i>{html.escape(name)} {share:.1%}</li>'
        for name, colour, share in entries
    )
    body = (
        f'<h1>{html.escape(title)}</h1><div class="bar"><label>labels '
        '<input type="range" min="0" max="1" step="0.01" value="0.5"></label>'
        f'<ul class="classes">{classes}</ul></div><div class="grid">{"".join(figures)}</div>'
    )
    return document(title, _STYLE, body, _SCRIPT)


def _cover(label: np.ndarray, info: DataInfo) -> str:
    """The coloured labels as a data URL; the background is transparent."""
    picture = palette_image(label, info)
    if has_background(info):
        picture.info["transparency"] = 0
    return data_url(picture, "PNG")


def _contents(counts: np.ndarray, info: DataInfo) -> str:
    """The classes of an example, the most frequent first."""
    names = dict(enumerate(info.class_names))
    order = np.argsort(-counts, kind="stable")
    shares = [
        (names.get(i, "ignored"), counts[i] / counts.sum()) for i in order.tolist() if counts[i]
    ]
    return ", ".join(
        f"{name} {share:.0%}" if share >= 0.01 else f"{name} <1%" for name, share in shares
    )
