"""Reads mask files as arrays of classes: the stored indices, not the colours of a palette."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from jaxseg.data.counts import present_values
from jaxseg.data.decode import decoded, upright
from jaxseg.data.inside import DrawnMask
from jaxseg.data.matlab import read_mat_labels
from jaxseg.data.source import IGNORE
from jaxseg.data.upright import Picture
from jaxseg.errors import InputError

_SMOOTH = 16  # with so many invalid values, a resize has mixed neighbouring classes
_GREY_STEP = {"L;2": 85, "L;4": 17}  # PIL scales 2 and 4 bit grey to 0..255


def read_mask(
    path: str | os.PathLike,
    num_classes: int,
    values: Mapping[int, int] | None = None,
    data: bytes | None = None,
) -> np.ndarray:
    """Reads the classes in the mask `path`: uint8 [H, W], 0..num_classes-1 or 255 (ignore).

    Args:
      path: the file.
      num_classes: the number of classes.
      values: maps each allowed stored value to its class or to 255; None: the stored values are the
        classes, and 255.
      data: as in `read_image`.

    Raises:
      InputError: the file cannot be decoded completely, contains colours or more than 8 bits, or a
        value that is not a class.
    """
    return to_classes(read_stored(path, data), path, num_classes, values)


def to_classes(
    stored: np.ndarray,
    path: str | os.PathLike,
    num_classes: int,
    values: Mapping[int, int] | None = None,
) -> np.ndarray:
    """Maps the values `stored` in `path` to classes; otherwise as in `read_mask`."""
    if values is None and not ((stored >= num_classes) & (stored != IGNORE)).any():
        return stored.astype(np.uint8, copy=False)
    legal = identity(num_classes) if values is None else values
    present = present_values(stored)
    if wrong := [value for value in present if value not in legal]:
        raise InputError(*_out_of_range(path, present, wrong, legal, num_classes))
    table = np.zeros(present[-1] + 1, np.uint8)
    table[present] = [legal[value] for value in present]
    return table[stored]


def identity(num_classes: int) -> dict[int, int]:
    """The identity map of stored values: classes and 255.

    >>> identity(2)
    {0: 0, 1: 1, 255: 255}
    """
    return {i: i for i in range(num_classes)} | {IGNORE: IGNORE}


def read_stored(path: str | os.PathLike, data: bytes | None = None) -> np.ndarray:
    """The stored values of the mask `path`, upright: [H, W], uint8, or a MATLAB file's own dtype.

    A palette image gives its indices, never its colours; a grey image gives its values.

    Raises:
      InputError: the file cannot be decoded completely, or contains colours or more than 8 bits.
    """
    return decode_mask(path, data).pixels


class Colours(Protocol):
    """Maps colours to values."""

    def stored(self, pixels: np.ndarray, path: str | os.PathLike) -> np.ndarray:
        """The values of a coloured mask, uint8 [H, W], from its pixels, uint8 [H, W, 3]."""
        ...


def decode_mask(
    path: str | os.PathLike, data: bytes | None = None, colours: Colours | None = None
) -> Picture:
    """Like `read_stored`; also returns the orientation, and with `colours` accepts colours."""
    if isinstance(path, DrawnMask):
        return Picture(path.draw(), 1)
    if Path(path).suffix == ".mat":
        return Picture(read_mat_labels(Path(path)), 1)
    with decoded(path, data, checked=True) as loaded:
        image, orientation, packing, _ = loaded
        if loaded.is_deep:
            raise InputError(
                f"Mask {path} has more than 8 bits per pixel ({packing or image.mode}).",
                f"Save it as an 8-bit PNG of class indices 0, 1, ... and {IGNORE}.",
            )
        if colours is not None and image.mode in ("RGB", "RGBA"):
            _check_visible(image, path)
            pixels = upright(np.asarray(image.convert("RGB")), image, orientation)
            return Picture(colours.stored(pixels, path), orientation)
        if image.mode == "LA" and image.getchannel("A").getextrema() == (255, 255):
            image = image.getchannel("L")  # grey, and opaque everywhere
        if image.mode == "LA":
            raise InputError(
                f"Mask {path} has transparent pixels.",
                "Save it without transparency (an alpha channel), with a class index, or "
                f"{IGNORE} (ignore), for every pixel.",
            )
        if image.mode not in ("P", "L", "1"):
            raise InputError(
                f"Mask {path} contains colours (mode {image.mode}), not class indices.",
                "Write lines `name r g b` into classes.txt; or convert each colour to its class "
                "index, and save an 8-bit PNG of indices.",
            )
        stored = np.asarray(image, np.uint8)
        step = _GREY_STEP.get(packing)
        stored = stored // step if step else stored
        return Picture(upright(stored, image, orientation), orientation)


def _check_visible(image: Image.Image, path: str | os.PathLike) -> None:
    """Raises InputError if several colours are hidden below fully transparent pixels.

    Drawing programs keep the colours of what was erased. A single colour is the background.
    """
    if image.mode != "RGBA":
        return
    pixels = np.asarray(image)
    hidden = np.unique(pixels[pixels[..., 3] == 0][:, :3], axis=0)
    if len(hidden) > 1:
        shown = ", ".join(str(tuple(colour.tolist())) for colour in hidden[:3])
        raise InputError(
            f"Mask {path} has transparent pixels with {len(hidden)} different colours below: "
            f"{shown}{', ...' * (len(hidden) > 3)}.",
            "Flatten it onto the colour of the background, so that it has no alpha channel: "
            "magick MASK.png -background black -alpha remove OUT.png",
        )


def palette_of(path: str | os.PathLike) -> np.ndarray | None:
    """The colours of a palette image, uint8 [256, 3]; None for other or unreadable images.

    A palette of greys in order counts as none, because it is the default for indices.
    """
    if isinstance(path, DrawnMask):
        return None
    try:
        with decoded(path, header_only=True) as (image, *_):
            colours = image.getpalette() if image.mode == "P" else None
    except InputError:
        return None
    if colours is None:
        return None
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours) // 3] = np.uint8(colours[: len(colours) // 3 * 3]).reshape(-1, 3)
    greys = np.arange(len(colours) // 3)[:, None]
    return None if (table[: len(greys)] == greys).all() else table


def _out_of_range(path, present, wrong, legal, num_classes: int) -> tuple[str, str]:
    found = f"the value {wrong[0]}" if len(wrong) == 1 else f"the values {ranges(wrong, 8)}"
    ignored = ", ".join(str(v) for v, k in legal.items() if k == IGNORE)
    usual = legal == identity(num_classes)
    problem = f"Mask {path} contains {found}; allowed values are " + (
        f"0..{num_classes - 1} and {IGNORE} (ignore)."
        if usual
        else f"{ranges(sorted(legal))}, of which {ignored or 'none'} mean(s) ignore."
    )
    if usual and num_classes == 2 and len(present) == 2 and present[0] == 0:
        remedy = (
            f"It looks like a binary mask. Save the foreground as 1, not {present[1]}; for 0 and "
            "255 set config.data.mask_values='binary'."
        )
    elif usual and 0 not in present and wrong[0] == num_classes and len(wrong) == 1:
        remedy = (
            "The classes seem to be numbered from 1; set config.data.mask_values='zero_is_void', "
            "or subtract 1 from every class."
        )
    elif usual and list(wrong) == [num_classes]:
        remedy = (
            "If 0 means void and the classes are numbered from 1, set "
            "config.data.mask_values='zero_is_void'. Otherwise list every class in classes.txt."
        )
    elif usual and len(wrong) > _SMOOTH:
        remedy = (
            "It was probably resized with smoothing, saved as JPEG, or is not a mask. Export it "
            "again in its original size; resize masks only with nearest-neighbour interpolation."
        )
    elif usual:
        remedy = (
            f"Save class indices, and list every class in classes.txt; ignored pixels are {IGNORE}"
        )
        remedy += f", or {wrong[0]} by config.data.ignore_label={wrong[0]}." * (len(wrong) == 1)
        remedy = remedy.rstrip(".") + "."
    else:
        remedy = (
            "Check that the file belongs to this data set, config.data.mask_values and "
            "config.data.ignore_label."
        )
    return problem, remedy


def ranges(values, most: int | None = None) -> str:
    """Ascending integers as text, with ranges for consecutive ones; at most `most` if given.

    >>> ranges([0, 1, 2, 7, 255])
    '0..2, 7, 255'
    >>> ranges([21, 22, 23, 24], most=3)
    '21, 22, 23, ...'
    """
    if most is not None:
        shown = ", ".join(str(v) for v in values[:most])
        return shown + (", ..." if len(values) > most else "")
    parts: list[list[int]] = []
    for value in map(int, values):
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in parts)
