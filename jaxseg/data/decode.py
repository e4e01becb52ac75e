"""Image files to arrays: photos become RGB, masks stay the indices that they store.

Both are upright: turned as their EXIF orientation says (`jaxseg.data.upright`). A file that cannot
be decoded to its last pixel is an error that names it.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from jaxseg.data.bands import as_kind, is_array, of_image, read_deep, read_deep_frame
from jaxseg.data.image_file import MOST_PIXELS, check_size, decoding, open_image
from jaxseg.data.inside import DrawnMask, EmbeddedPhoto
from jaxseg.data.matlab import read_mat_labels
from jaxseg.data.not_images import what_it_is
from jaxseg.data.source import IGNORE
from jaxseg.data.upright import Frame, Picture, aligned_mask, orientation_of, turned
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import RGB, ImageKind

_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # PIL modes of more than 8 bits
_SMOOTH = 16  # so many values that are no class come from mixing those of neighbours
_GREY_STEP = {"L;2": 85, "L;4": 17}  # PIL stretches 2 and 4 bit grey to 0..255
_BROKEN = (  # errors of PIL for files that are no images, or not whole ones
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    MemoryError,  # of a header that claims a gigantic size
    OverflowError,
)


def read_image(
    path: str | os.PathLike, data: bytes | None = None, kind: ImageKind = RGB
) -> np.ndarray:
    """The photo in `path`, upright: uint8 [H, W, 3], RGB.

    Grey, palette and CMYK photos are converted; an alpha channel is dropped.

    Args:
      path: the file.
      data: its bytes, where they were read already; then `path` only serves in messages.
      kind: other images than photographs; their pixels are [H, W, channels] of its dtype, by the
        rules of `jaxseg.data.bands`.

    Raises:
      InputError: the file cannot be decoded to its end, or has more than 8 bits a channel, or is
        not of the `kind`.
    """
    return decode_image(path, data, kind).pixels


def decode_image(
    path: str | os.PathLike, data: bytes | None = None, kind: ImageKind = RGB
) -> Picture:
    """`read_image`, and the orientation that it was turned by."""
    if kind != RGB or is_array(path):
        return _decode_kind(path, data, kind)
    with _decoded(path, data) as (image, orientation):
        if image.mode in _DEEP:
            raise InputError(
                f"Photo {path} has more than 8 bits a channel (mode {image.mode}).",
                "Convert it to 8 bits: only you know which range of its values matters; or take it "
                "as it is: config.data.bits=16, and config.data.channels=1 if it is grey.",
            )
        shown = image.convert("RGBA") if "transparency" in image.info else image
        pixels = np.asarray(shown if shown.mode == "RGB" else shown.convert("RGB"))
        return Picture(_upright(pixels, image, orientation), orientation)


def _decode_kind(path: str | os.PathLike, data: bytes | None, kind: ImageKind) -> Picture:
    """An image that is no photograph."""
    if data is None and isinstance(path, EmbeddedPhoto):
        data = path.read_bytes()
    found = read_deep(path, data)
    if found is not None:
        pixels = as_kind(found.pixels, found.alpha, kind, path)
        return Picture(np.ascontiguousarray(turned(pixels, found.orientation)), found.orientation)
    with _decoded(path, data) as (image, orientation):
        pixels = as_kind(*of_image(image), kind, path)
        return Picture(_upright(pixels, image, orientation), orientation)


def read_mask(
    path: str | os.PathLike,
    num_classes: int,
    values: Mapping[int, int] | None = None,
    data: bytes | None = None,
) -> np.ndarray:
    """The classes in the mask `path`: uint8 [H, W], 0..num_classes-1 or 255 (ignore).

    Args:
      path: the file.
      num_classes: how many classes there are.
      values: the class, or 255, that each legal stored value stands for; None: the stored values
        are the classes, and 255.
      data: as in `read_image`.

    Raises:
      InputError: the file cannot be decoded to its end, holds colours or more than 8 bits, or a
        value that is no class.
    """
    return to_classes(read_stored(path, data), path, num_classes, values)


def to_classes(
    stored: np.ndarray,
    path: str | os.PathLike,
    num_classes: int,
    values: Mapping[int, int] | None = None,
) -> np.ndarray:
    """The classes that the values `stored` in `path` stand for; all else as in `read_mask`."""
    if values is None and not ((stored >= num_classes) & (stored != IGNORE)).any():
        return stored.astype(np.uint8, copy=False)
    legal = identity(num_classes) if values is None else values
    present = np.flatnonzero(np.bincount(stored.ravel())).tolist()
    if wrong := [value for value in present if value not in legal]:
        raise InputError(*_out_of_range(path, present, wrong, legal, num_classes))
    table = np.zeros(present[-1] + 1, np.uint8)
    table[present] = [legal[value] for value in present]
    return table[stored]


def identity(num_classes: int) -> dict[int, int]:
    """The stored values of a mask that holds classes and 255.

    >>> identity(2)
    {0: 0, 1: 1, 255: 255}
    """
    return {i: i for i in range(num_classes)} | {IGNORE: IGNORE}


def read_stored(path: str | os.PathLike, data: bytes | None = None) -> np.ndarray:
    """The values that the mask `path` stores, upright: [H, W], uint8, or a MATLAB file's own type.

    A palette image gives its indices, never its colours; a grey image gives its values.

    Raises:
      InputError: the file cannot be decoded to its end, or holds colours or more than 8 bits.
    """
    return decode_mask(path, data).pixels


class Colours(Protocol):
    """The values that colours stand for."""

    def stored(self, pixels: np.ndarray, path: str | os.PathLike) -> np.ndarray:
        """The values of a mask in colours, uint8 [H, W], of its pixels, uint8 [H, W, 3]."""
        ...


def decode_mask(
    path: str | os.PathLike, data: bytes | None = None, colours: Colours | None = None
) -> Picture:
    """`read_stored`, and the orientation that it was turned by; with `colours`, of colours, too."""
    if isinstance(path, DrawnMask):
        return Picture(path.draw(), 1)
    if Path(path).suffix == ".mat":
        return Picture(read_mat_labels(Path(path)), 1)
    with _decoded(path, data, tiles := []) as (image, orientation):
        if image.mode in _DEEP:
            raise InputError(
                f"Mask {path} has more than 8 bits a pixel (mode {image.mode}).",
                f"Save it as an 8 bit PNG of class indices 0, 1, ... and {IGNORE}.",
            )
        if colours is not None and image.mode in ("RGB", "RGBA"):
            pixels = _upright(np.asarray(image.convert("RGB")), image, orientation)
            return Picture(colours.stored(pixels, path), orientation)
        if image.mode not in ("P", "L", "1"):
            raise InputError(
                f"Mask {path} holds colours (mode {image.mode}), not class indices.",
                "Write lines `name r g b` into classes.txt; or convert each colour to the index of "
                "its class, and save an 8 bit PNG of indices.",
            )
        stored = np.asarray(image, np.uint8)
        step = _GREY_STEP.get(tiles[0] if tiles else "")
        stored = stored // step if step else stored
        return Picture(_upright(stored, image, orientation), orientation)


def read_pair(
    photo: str | os.PathLike,
    mask: str | os.PathLike,
    num_classes: int,
    values: Mapping[int, int] | None = None,
    exif: str = "error",
    colours: Colours | None = None,
    kind: ImageKind = RGB,
) -> tuple[np.ndarray, np.ndarray]:
    """A photo as `read_image` gives it, and the classes of its mask as they lie on it.

    Args:
      photo, mask: the files.
      num_classes, values: as in `read_mask`.
      exif: `config.data.exif`, see `jaxseg.data.upright.aligned_mask`.
      colours: of masks in colours; None: they are refused.
      kind: of the photo.

    Raises:
      InputError: as both, or the two differ in size, or in their EXIF orientation.
    """
    picture, stored = decode_image(photo, kind=kind), decode_mask(mask, colours=colours)
    label = laid_on(picture, stored, photo, mask, num_classes, values, exif=exif)
    if picture.pixels.shape[:2] != label.shape:
        raise size_mismatch(photo, picture.pixels, mask, label)
    return picture.pixels, label


def laid_on(
    picture: Picture,
    mask: Picture,
    photo_file: str | os.PathLike,
    mask_file: str | os.PathLike,
    num_classes: int,
    values: Mapping[int, int] | None = None,
    *,
    exif: str,
) -> np.ndarray:
    """The classes of a decoded mask as they lie on its upright photo; it may have another size.

    Raises:
      InputError: as `aligned_mask` and `to_classes`.
    """
    frame = Frame(picture.pixels.shape[:2], picture.orientation)
    stored = aligned_mask(frame, mask, exif, photo_file, mask_file)
    return to_classes(stored, mask_file, num_classes, values)


def palette_of(path: str | os.PathLike) -> np.ndarray | None:
    """The colours of a palette image, uint8 [256, 3]; None of another image, or an unreadable one.

    A palette of greys in order is none: that is how indices are saved without colours.
    """
    if isinstance(path, DrawnMask):
        return None
    try:
        with _decoded(path, header_only=True) as (image, _):
            colours = image.getpalette() if image.mode == "P" else None
    except InputError:
        return None
    if colours is None:
        return None
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours) // 3] = np.uint8(colours[: len(colours) // 3 * 3]).reshape(-1, 3)
    greys = np.arange(len(colours) // 3)[:, None]
    return None if (table[: len(greys)] == greys).all() else table


def read_size(path: str | os.PathLike, data: bytes | None = None) -> tuple[int, int]:
    """(height, width) of the upright image in `path`, from its header; all else as in `read_image`.

    Raises:
      InputError: the header cannot be read.
    """
    return read_frame(path, data).size


def read_frame(path: str | os.PathLike, data: bytes | None = None) -> Frame:
    """`read_size`, and the orientation."""
    found = None
    if is_array(path):
        found = read_deep_frame(path, data)
    else:
        try:
            return _pillow_frame(path, data)
        except InputError:
            with contextlib.suppress(InputError):
                found = read_deep_frame(path, data)  # a TIFF of several bands
            if found is None:
                raise
    assert found is not None
    height, width, orientation = found
    return Frame((width, height) if orientation >= 5 else (height, width), orientation)


def _pillow_frame(path: str | os.PathLike, data: bytes | None) -> Frame:
    with _decoded(path, data, header_only=True) as (image, orientation):
        turns = orientation >= 5 and image.format != "TIFF"  # PIL turns a TIFF by itself
        size = (image.width, image.height) if turns else (image.height, image.width)
        return Frame(size, orientation)


def _upright(pixels: np.ndarray, image: Image.Image, orientation: int) -> np.ndarray:
    if orientation == 1 or image.format == "TIFF":
        return pixels
    return np.ascontiguousarray(turned(pixels, orientation))


def size_mismatch(
    image_path: str | os.PathLike, image: np.ndarray, mask_path: str | os.PathLike, mask: np.ndarray
) -> InputError:
    """The error for an image and a mask of different sizes."""
    return InputError(
        f"Image {image_path} is {image.shape[1]} wide and {image.shape[0]} high, but its mask "
        f"{mask_path} is {mask.shape[1]} wide and {mask.shape[0]} high.",
        "Make both the same size, or take the id out of the list.",
    )


def _out_of_range(path, present, wrong, legal, num_classes: int) -> tuple[str, str]:
    found = f"the value {wrong[0]}" if len(wrong) == 1 else f"the values {ranges(wrong, 8)}"
    ignored = ", ".join(str(v) for v, k in legal.items() if k == IGNORE)
    usual = legal == identity(num_classes)
    problem = f"Mask {path} holds {found}; legal are " + (
        f"0..{num_classes - 1} and {IGNORE} (ignore)."
        if usual
        else f"{ranges(sorted(legal))}, of which {ignored or 'none'} mean(s) ignore."
    )
    if usual and num_classes == 2 and len(present) == 2 and present[0] == 0:
        remedy = (
            f"It looks like a binary mask: save its foreground as 1, not {present[1]}; "
            "config.data.mask_values='binary' takes 0 and 255."
        )
    elif usual and 0 not in present and wrong[0] == num_classes and len(wrong) == 1:
        remedy = "It looks as if the classes were counted from 1: subtract 1 from every class."
    elif usual and list(wrong) == [num_classes]:
        remedy = (
            "If 0 means void and the classes count from 1, set "
            "config.data.mask_values='zero_is_void'; else list every class in classes.txt."
        )
    elif usual and len(wrong) > _SMOOTH:
        remedy = (
            "It looks as if it was resized with smoothing, saved as JPEG, or is no mask: export it "
            "again, in its size; masks are resized by the nearest pixel."
        )
    elif usual:
        remedy = (
            f"Save class indices, and list every class in classes.txt; what is to be ignored is "
            f"{IGNORE}"
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
    """Ascending integers, the neighbours among them as a range; no more than `most` if given.

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


@contextmanager
def _decoded(
    path: str | os.PathLike,
    data: bytes | None = None,
    raw_modes: list[str] | None = None,
    *,
    header_only: bool = False,
) -> Iterator[tuple[Image.Image, int]]:
    """The image in `path`, loaded, with its EXIF orientation.

    `raw_modes` receives how its pixels are packed in the file.
    """
    if data is None and isinstance(path, EmbeddedPhoto):
        data = path.read_bytes()
    try:
        image = open_image(path, data, checked=raw_modes is not None)
        # of a TIFF before it is loaded: PIL turns it then, and forgets it
        early = header_only or image.format == "TIFF"
        try:
            if raw_modes is not None:  # the tiles are gone once loaded
                raw_modes.extend(str(tile[3]) for tile in image.tile)
            orientation = orientation_of(image, image.fp) if early else 1
            if image.format == "TIFF":
                image.filename = ""  # or PIL maps it into memory, as if it were not to be turned
            if not header_only:
                check_size(path, image.width, image.height)
                with decoding(image.width, image.height):
                    image.load()
            if not early:
                orientation = orientation_of(image)
        except BaseException:
            image.close()
            raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{path} claims to have more than {MOST_PIXELS:,} pixels.",
            "Scale it down, or cut it into parts.",
        ) from error
    except InputError:
        raise
    except _BROKEN as error:
        reason, remedy = what_it_is(path, data, error)
        raise InputError(f"{path} cannot be decoded ({reason}).", remedy) from error
    with image:
        yield image, orientation
