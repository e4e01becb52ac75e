"""The responses of the server: labels as PNG, overlay, JSON, COCO or npz."""

import base64
import io
import json
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxseg.data.source import DataInfo
from jaxseg.serve.coco import annotations
from jaxseg.serve.labeller import Labelled
from jaxseg.visualization.palette import has_background, overlay, palette_image

INCLUDED = ("png", "layers")  # pictures that JSON may include


class Result(NamedTuple):
    """A labelled image, with the network's name and classes."""

    network: str
    info: DataInfo
    image: np.ndarray
    labelled: Labelled


def _png(result: Result) -> bytes:
    return _encoded(palette_image(result.labelled.labels, result.info), "PNG")


def _overlay(result: Result) -> bytes:
    mixed = overlay(result.image, result.labelled.labels, result.info)
    return _encoded(Image.fromarray(mixed), "JPEG", quality=90)


def _npz(result: Result) -> bytes:
    file = io.BytesIO()
    names = np.array(result.info.class_names)
    np.savez_compressed(file, **result.labelled._asdict(), class_names=names)
    return file.getvalue()


def _coco(result: Result) -> bytes:
    height, width = result.labelled.labels.shape
    images = [{"id": 1, "width": width, "height": height}]
    return json.dumps({"images": images, **annotations(*result.labelled, result.info)}).encode()


class Format(NamedTuple):
    """The media type of a format, and a function that writes a result."""

    media_type: str
    write: Callable[[Result], bytes]


def _json(result: Result) -> bytes:
    return as_json(result)


FORMATS = {
    "json": Format("application/json", _json),
    "png": Format("image/png", _png),
    "overlay": Format("image/jpeg", _overlay),
    "coco": Format("application/json", _coco),
    "npz": Format("application/x-npz", _npz),
}


def as_json(result: Result, include: Collection[str] = ()) -> bytes:
    """The classes of an image with their shares, and COCO's masks, as JSON.

    Args:
      result: the labelled image.
      include: names of `INCLUDED`, pictures in base64: "png" is the response `png`; "layers" is an
        RGB PNG with the label in red and the probability in green, 0..255.
    """
    labels, probability = result.labelled
    height, width = labels.shape
    count = result.info.num_classes
    pixels = np.bincount(labels.ravel(), minlength=count)
    sums = np.bincount(labels.ravel(), probability.ravel(), count)
    answer: dict[str, Any] = {
        "network": result.network,
        "width": width,
        "height": height,
        "classes": [
            {
                "index": i,
                "name": name,
                "colour": "#{:02x}{:02x}{:02x}".format(*result.info.palette[i]),
                "background": i == 0 and has_background(result.info),
                "pixels": int(pixels[i]),
                "share": round(float(pixels[i] / labels.size), 6),
                "probability": round(float(sums[i] / pixels[i]), 4) if pixels[i] else None,
            }
            for i, name in enumerate(result.info.class_names)
        ],
        **annotations(labels, probability, result.info),
    }
    pictures = {"png": _png, "layers": _layers}
    for name in include:
        answer[name] = base64.b64encode(pictures[name](result)).decode()
    return json.dumps(answer).encode()


def _layers(result: Result) -> bytes:
    labels, probability = result.labelled
    likely = np.round(probability * 255).clip(0, 255).astype(np.uint8)
    return _encoded(Image.fromarray(np.dstack([labels, likely, np.zeros_like(labels)])), "PNG")


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
