"""Converts labels to COCO: a run-length encoded mask per class."""

from typing import Any

import numpy as np

from jaxseg.data.source import DataInfo


def rle(mask: np.ndarray) -> dict[str, Any]:
    """A mask in COCO's compressed run-length encoding, as pycocotools reads it.

    Args:
      mask: bool [H, W].

    Returns:
      "size", [H, W], and "counts", the encoded lengths of the runs in column order.

    >>> rle(np.array([[False, True], [True, True]]))
    {'size': [2, 2], 'counts': '13'}
    """
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size])))
    counts = [0, *runs.tolist()] if flat[0] else runs.tolist()
    return {"size": list(mask.shape), "counts": _compressed(counts)}


def _compressed(counts: list[int]) -> str:
    """Encodes 5 bits per character, lowest first; from the fourth on, differences to two before."""
    text = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr(48 + (bits | (0x20 if more else 0))))
    return "".join(text)


def annotations(
    labels: np.ndarray, probability: np.ndarray, info: DataInfo
) -> dict[str, list[dict[str, Any]]]:
    """The classes of an image as COCO's "categories" and "annotations".

    Args:
      labels: uint8 [H, W].
      probability: float32 [H, W], the probability of each pixel's label.
      info: the classes.

    Returns:
      A category per class, by index; an annotation per class in the image, with its mask, area, box
      [x, y, width, height] and score, the mean probability.
    """
    found = []
    for index in np.unique(labels).tolist():
        mask = labels == index
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        found.append(
            {
                "id": len(found) + 1,
                "image_id": 1,
                "category_id": index,
                "segmentation": rle(mask),
                "area": int(mask.sum()),
                "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                "score": round(float(probability[mask].mean()), 4),
                "iscrowd": 0,
            }
        )
    names = [{"id": i, "name": name} for i, name in enumerate(info.class_names)]
    return {"categories": names, "annotations": found}
