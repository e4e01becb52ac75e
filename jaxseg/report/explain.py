"""Pictures of the activations in a trained network, for one image."""

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxseg.data import DataInfo, Example, resize_image
from jaxseg.data.shown import shown
from jaxseg.errors import InputError, nearest
from jaxseg.evaluation.trained_run import TrainedRun
from jaxseg.inference.protocols import seen_size
from jaxseg.inference.whole_image import image_labels
from jaxseg.models import features, normalize
from jaxseg.models.deconvnet import DeconvNet
from jaxseg.models.fcn import FCNVGG16
from jaxseg.models.pspnet import PSPNet
from jaxseg.report.runs import open_runs
from jaxseg.utils.access import reason
from jaxseg.utils.atomic import atomic_file
from jaxseg.utils.paths import given_path
from jaxseg.visualization.heatmap import choose_channel, heat
from jaxseg.visualization.palette import colorize
from jaxseg.visualization.panel import legend
from jaxseg.visualization.sheet import sheet

_HEIGHT = 170  # height of a tile in pixels
_COLUMNS = 5
_TOGETHER = "side-by-side.png"

# The layers shown in DeconvNet's paper (figure 4), from coarse to fine.
_FIGURE_4 = ["deconv5_3", "unpool4", "deconv4_3", "unpool3", "deconv3_3"]
_FIGURE_4 += ["unpool2", "deconv2_2", "unpool1", "deconv1_2"]


def explain(
    workdirs: Sequence[str | os.PathLike],
    out: str | pathlib.Path,
    *,
    image: int = 0,
    class_name: str | None = None,
    fields: Mapping[str, Any] | None = None,
) -> list[pathlib.Path]:
    """Draws the activations of each run's network for one evaluation image.

    Each run gets a page, named after its workdir: the image, the truth, the prediction, then layers
    as heat maps. Each layer shows the channel that correlates best with the truth of one class;
    logits layers show the channel of that class. FCN: the prediction without its finer logits,
    pooled maps, fused logits. DeconvNet: unpooling and deconvolution from coarse to fine (figure 4
    of its paper). PSPNet: the levels of its pyramid, pooled and upsampled. Other networks: their
    stages. Several runs get an additional page, `side-by-side.png`, with the prediction of each.

    Args:
      workdirs: finished runs; or names, folders and files for `jaxseg.load`.
      out: folder for the pages; created if missing.
      image: index of the image in the evaluation split, from 0.
      class_name: the class that selects the channels; None: the second most frequent in the image.
      fields: config fields of `eval` or `data` to change, by dotted name.

    Returns:
      The paths of the pages.

    Raises:
      InputError: no run in a workdir, no such image or class, or the runs' data differ.
    """
    folder = given_path(out)
    runs = open_runs(workdirs, fields=fields)
    pages = {f"{name}.png": _page(run, image, class_name) for name, run in runs.items()}
    if len(runs) > 1:
        pages[_TOGETHER] = _side_by_side(runs, image)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, page in pages.items():
            with atomic_file(folder / name) as file:
                page.save(file, "PNG")
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {reason(error)}.", "Give an --out that you can write to."
        ) from None
    return [folder / name for name in pages]


def _page(run: TrainedRun, index: int, class_name: str | None):
    if not 0 <= index < len(run.source):
        raise InputError(
            f"There is no image {index}: {run.source.info.name} has {len(run.source)} images.",
            f"Give a number from 0 to {len(run.source) - 1}.",
        )
    example = run.source[index]
    *rows, layers = activations(run, example, _class(run, example, class_name))
    stretched = [(caption, _stretch(maps, example.image.shape[:2])) for caption, maps in layers]
    rows += _wrapped(stretched)
    return sheet(rows, _HEIGHT, lambda width: legend(run.source.info, width, errors=False))


def activations(
    run: TrainedRun, example: Example, chosen: int
) -> list[list[tuple[str, np.ndarray]]]:
    """The activations of a network for an image, as rows of captioned pictures.

    Args:
      run: the network.
      example: the image and its truth.
      chosen: index of the class that selects the channels.

    Returns:
      Image, truth, prediction and the pixels of the class; FCN's predictions without finer logits;
      last the layers as heat maps, each in its own size. Pictures are uint8 [H, W, 3].
    """
    first = [
        ("photo", shown(example.image)),
        ("truth", colorize(example.label, run.source.info)),
        ("prediction", _prediction(run, run.variables, example)),
        (f"where {run.source.info.class_names[chosen]} is", heat(example.label == chosen)),
    ]
    return [first, *_stages(run, example), _layers(run, example, chosen)]


def _side_by_side(runs: dict[str, TrainedRun], index: int):
    first, *others = runs.values()
    example = first.source[index]
    truth = colorize(example.label, first.source.info)
    tiles = [("photo", shown(example.image)), ("truth", truth)]
    for other in others:
        if not np.array_equal(other.source[index].image, example.image):
            raise InputError(
                f"Image {index} differs between the runs.",
                "Give runs that are evaluated on the same data set.",
            )
    tiles += [(name, _prediction(run, run.variables, example)) for name, run in runs.items()]
    return sheet(
        _wrapped(tiles), _HEIGHT, lambda width: legend(first.source.info, width, errors=False)
    )


def _wrapped(tiles: list) -> list[list]:
    return [tiles[i : i + _COLUMNS] for i in range(0, len(tiles), _COLUMNS)]


def find_class(info: DataInfo, name: str) -> int:
    """The index of a class by name; raises InputError if there is none."""
    names = list(info.class_names)
    if name not in names:
        raise InputError(f"{info.name} has no class '{name}'.", nearest(name, names))
    return names.index(name)


def _class(run: TrainedRun, example: Example, name: str | None) -> int:
    if name is not None:
        return find_class(run.source.info, name)
    counts = np.bincount(example.label.ravel(), minlength=256)[: run.source.info.num_classes]
    return int(np.argsort(-counts, kind="stable")[1])


def _prediction(run: TrainedRun, variables, example: Example) -> np.ndarray:
    inputs = resize_image(example.image, seen_size(run.config.eval, example.image.shape[:2]))[None]
    labels = image_labels(run.model, variables, inputs, example.label.shape)
    return colorize(np.asarray(labels)[0], run.source.info)


def _stages(run: TrainedRun, example: Example) -> list[list[tuple[str, np.ndarray]]]:
    """FCN's predictions with and without the logits of its skips (figure 4 of the paper)."""
    if not isinstance(run.model, FCNVGG16) or run.model.stride == 32:
        return []
    tiles, params = [], dict(run.variables["params"])
    for skip, caption in (
        (None, "with all its logits"),
        ("score_pool3", "without pool3's"),
        ("score_pool4", "also without pool4's"),
    ):
        if skip is None or skip in params:
            if skip:
                params[skip] = jax.tree.map(lambda a: 0 * a, params[skip])
            picture = _prediction(run, run.variables | {"params": params}, example)
            tiles.append((caption, picture))
    return [tiles[::-1]]


def _layers(run: TrainedRun, example: Example, chosen: int):
    inputs = resize_image(example.image, seen_size(run.config.eval, example.image.shape[:2]))[None]
    images = normalize(inputs, run.model.preprocessing)
    shapes = jax.eval_shape(functools.partial(features, run.model), run.variables, images)
    names = _names(run.model, shapes)
    get = jax.jit(functools.partial(features, run.model, names=names))
    tiles = []
    found = {k: np.asarray(v[0], np.float32) for k, v in get(run.variables, images).items()}
    for layer in names:
        maps = found[layer]
        if layer.startswith(("score", "fuse")):
            channel = chosen
        else:  # a pyramid level shows the same channel before and after upsampling
            alike = found[layer.replace("_pooled", "_upsampled")]
            channel = choose_channel(alike, example.label == chosen)
        caption = f"{layer.removeprefix('backbone/')} {maps.shape[0]}x{maps.shape[1]}"
        tiles.append((caption, heat(maps[..., channel])))
    return tiles


def _names(model, shapes) -> list[str]:
    if isinstance(model, DeconvNet):
        return _FIGURE_4
    if isinstance(model, PSPNet):
        levels = [f"level{b}_{what}" for what in ("pooled", "upsampled") for b in model.bins]
        return [
            "backbone/layer4",
            *levels[: len(model.bins)],
            "head/conv",
            *levels[len(model.bins) :],
        ]
    stages = [n for n in shapes if n.startswith(("pool", "backbone/layer")) and "block" not in n]
    return [*stages, *(n for n in ("fc7", "score_fr", "fuse_pool4", "fuse_pool3") if n in shapes)]


def _stretch(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Enlarges cells to squares, so that every tile has the image's size."""
    rows = np.arange(shape[0]) * picture.shape[0] // shape[0]
    columns = np.arange(shape[1]) * picture.shape[1] // shape[1]
    return picture[rows[:, None], columns]
