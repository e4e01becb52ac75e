"""Images that are not 8-bit RGB: grey, more than 8 bits, or any number of bands.

`.npy` files are read by NumPy, TIFFs and 16-bit PNGs by tifffile and imagecodecs (extra "images"),
all others by Pillow. Values are never guessed: a file that is not of the requested kind is an error
that describes the file.
"""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxseg.data.image_file import check_regular, check_size
from jaxseg.data.several_images import several_images, tiff_pages
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import DTYPES, ImageKind

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MODES = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
_TWO_KINDS = ("MINISBLACK", "RGB")  # photometric types of TIFFs whose numbers are used directly
_WHOLE = "Replace the file with an undamaged one, or remove it."


class Stored(NamedTuple):
    """The pixels of a file, [H, W] or [H, W, C], as stored.

    Attributes:
      pixels: array of any dtype.
      orientation: EXIF orientation, 1..8.
      alpha: whether the last channel is alpha.
    """

    pixels: np.ndarray
    orientation: int = 1
    alpha: bool = False


def is_array(path: str | os.PathLike) -> bool:
    """Whether a file name is that of a NumPy file."""
    return Path(path).suffix.lower() == ".npy"


def read_deep(path: str | os.PathLike, data: bytes | None) -> Stored | None:
    """Reads a file that Pillow does not support fully: `.npy`, TIFF, 16-bit colour PNG.

    Returns:
      None if Pillow reads the stored values.

    Raises:
      InputError: the file is damaged, has an unsupported bit depth, or needs the extra "images".
    """
    if is_array(path):
        return Stored(_array(path, data))
    start = _start(path, data)
    if start.startswith(_TIFF):
        return _tiff(path, data)
    if start.startswith(b"\x89PNG") and len(start) > 25 and start[24] == 16 and start[25] != 0:
        pixels = _decoded_png(path, data)
        return Stored(pixels, alpha=pixels.ndim == 3 and pixels.shape[2] in (2, 4))
    return None


def of_image(image: Image.Image) -> tuple[np.ndarray, bool]:
    """The pixels of a Pillow image, and whether their last channel is alpha."""
    if "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "I":  # 16 bits in older files, or 32
        pixels = np.asarray(image)
        fits = 0 <= pixels.min() and pixels.max() < 2**16
        return (pixels.astype(np.uint16) if fits else pixels), False
    if image.mode in _MODES:
        image = image.convert(_MODES[image.mode])
    return np.asarray(image), image.mode in ("LA", "RGBA", "La", "RGBa", "PA")


def as_kind(
    pixels: np.ndarray, alpha: bool, kind: ImageKind, path: str | os.PathLike
) -> np.ndarray:
    """Converts stored pixels to images of a kind: [H, W, channels] of its dtype.

    Values with fewer bits are scaled to the larger range. Grey is repeated for three channels. A
    surplus alpha channel is dropped. Float images accept the numbers of any file.

    Raises:
      InputError: another number of channels, too many bits, or numbers that are not finite.
    """
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise InputError(
            f"{path} contains an array of shape {pixels.shape}.",
            "Give [height, width] or [height, width, channels].",
        )
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if alpha and pixels.shape[2] != kind.channels:
        pixels = pixels[..., :-1]
    if pixels.shape[2] == 1 and kind.channels == 3:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] != kind.channels:
        found = pixels.shape[2]
        swapped = pixels.shape[0] == kind.channels
        raise InputError(
            f"{path} has {found} channel{'s' * (found != 1)}, but {kind.channels} are expected.",
            "The channels seem to come first; save it as [height, width, channels]."
            if swapped
            else "Give every file all bands, or set config.data.channels to their number. A "
            "trained network needs as many as in its training.",
        )
    return np.ascontiguousarray(_of_depth(pixels, kind, path))


def _of_depth(pixels: np.ndarray, kind: ImageKind, path) -> np.ndarray:
    """Converts the pixels to the dtype of `kind`."""
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if kind.bits == 32:
        if not any(np.issubdtype(pixels.dtype, t) for t in (np.integer, np.floating)):
            raise InputError(
                f"{path} contains values of type {pixels.dtype}.", "Save integers or floats."
            )
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float32, copy=False)
        wrong = pixels.size - np.count_nonzero(np.isfinite(pixels))
        if wrong:
            raise InputError(
                f"{path} has {wrong:,} values that are not finite (NaN or infinity).",
                "Replace them with a number, such as the mean, and label those pixels 255 "
                "(ignore).",
            )
        return pixels
    bits = {"uint8": 8, "uint16": 16}.get(pixels.dtype.name)
    if bits is None or bits > kind.bits:
        need = 16 if bits == 16 else 32
        what = f"{bits} bits per channel" if bits else f"values of type {pixels.dtype}"
        raise InputError(
            f"{path} has {what}, but {kind.bits} bits are expected.",
            f"Set config.data.bits={need}, or convert the files. A trained network needs the "
            "format that it was trained on.",
        )
    if bits < kind.bits:
        return pixels.astype(DTYPES[kind.bits]) * np.uint16(257)
    return pixels


def read_deep_frame(path: str | os.PathLike, data: bytes | None) -> tuple[int, int, int] | None:
    """(height, width, orientation) of a `.npy` file, or of a TIFF that Pillow cannot open.

    Returns:
      None for other files, or without the extra "images".
    """
    if is_array(path):
        shape = _array(path, data, header_only=True).shape
        if len(shape) not in (2, 3):
            raise InputError(
                f"{path} contains an array of shape {shape}.", "Give [H, W, channels]."
            )
        return shape[0], shape[1], 1
    if not _start(path, data).startswith(_TIFF) or _tifffile() is None:
        return None
    with _opened_tiff(path, data) as tiff:
        page = tiff.pages[0]
        return page.imagelength, page.imagewidth, _orientation(page)


def _array(path, data: bytes | None, header_only: bool = False) -> np.ndarray:
    try:
        if data is not None:
            return np.load(io.BytesIO(data), allow_pickle=False)
        check_regular(path)
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        if header_only:
            return pixels
        if pixels.ndim >= 2:
            check_size(path, pixels.shape[1], pixels.shape[0])
        return np.array(pixels)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise InputError(f"{path} cannot be read as an array ({reason}).", _WHOLE) from None


def _tiff(path, data: bytes | None) -> Stored | None:
    """A TIFF whose numbers are used directly; None for one in another mode, left to Pillow."""
    if _tifffile() is None:
        _check_pillow(path, data)
        return None
    with _opened_tiff(path, data) as tiff:
        page = tiff.pages[0]
        _check_depth(path, page.bitspersample)
        if page.photometric.name not in _TWO_KINDS or page.bitspersample == 1:
            return None
        check_size(path, page.imagewidth, page.imagelength)
        series, pages = tiff.series[0], tiff_pages(tiff.filehandle)
        if pages > 1 and (page.samplesperpixel > 1 or len(series.pages) != pages):
            raise several_images(path, pages)  # not the bands of one image
        pixels, axes = series.asarray(), series.axes
        if pixels.shape[axes.index("Y")] != page.imagelength:
            raise ValueError("its pages differ in size")
        rest = [i for i, axis in enumerate(axes) if axis not in "YX"]
        pixels = np.moveaxis(pixels, (axes.index("Y"), axes.index("X")), (0, 1))
        if sum(pixels.shape[i] > 1 for i in range(2, pixels.ndim)) > 1:
            raise ValueError(f"it has the axes {axes}")
        pixels = pixels.reshape(*pixels.shape[:2], -1) if rest else pixels
        alpha = any(str(kind.name).endswith("ALPHA") for kind in page.extrasamples)
        return Stored(pixels, _orientation(page), alpha)


def _check_pillow(path, data: bytes | None) -> None:
    """Raises InputError if Pillow cannot read a TIFF's numbers unchanged."""
    needs = InputError(
        f"{path} is a TIFF with several bands or more than 8 bits; reading it needs tifffile.",
        "pip install 'jaxseg[images]'",
    )
    try:
        with Image.open(path if data is None else io.BytesIO(data), formats=["TIFF"]) as image:
            bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
    except (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError):
        raise needs from None
    for depth in bits:
        _check_depth(path, depth)
    if max(bits) > 8 and len(bits) > 1:
        raise needs


def _check_depth(path, bits: int) -> None:
    if bits not in (1, 2, 4, 8, 16, 32, 64):
        raise InputError(
            f"{path} has {bits} bits per channel.",
            "Save it with 16 bits, for example with `gdal_translate -co NBITS=16`; the values do "
            "not change.",
        )


def _orientation(page: Any) -> int:
    tag = page.tags.get(274)
    value = int(tag.value) if tag is not None else 1
    return value if 1 <= value <= 8 else 1


@contextmanager
def _opened_tiff(path, data: bytes | None) -> Iterator[Any]:
    """Opens a TIFF with tifffile, and turns its errors into InputErrors."""
    try:
        if data is None:
            check_regular(path)
        content = os.fspath(path) if data is None else io.BytesIO(data)
        with _tifffile().TiffFile(content) as file:
            if not len(file.pages):
                raise ValueError("it has no image")
            yield file
    except InputError:
        raise
    except Exception as error:  # a damaged file can cause any type
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        remedy = "pip install 'jaxseg[images]'" if "imagecodecs" in reason else _WHOLE
        raise InputError(f"{path} cannot be decoded ({reason}).", remedy) from error


def _tifffile() -> Any:
    """The module tifffile, with its warnings disabled; None if it is not installed."""
    try:
        import tifffile
    except ImportError:
        return None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return tifffile


def _decoded_png(path, data: bytes | None) -> np.ndarray:
    try:
        import imagecodecs
    except ImportError as error:
        raise InputError(
            f"{path} is a 16-bit colour PNG; reading it needs imagecodecs ({error}).",
            "pip install 'jaxseg[images]'",
        ) from None
    data = Path(path).read_bytes() if data is None else data
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    check_size(path, width, height)
    try:
        return imagecodecs.png_decode(data)
    except Exception as error:  # the library has its own types
        raise InputError(f"{path} cannot be decoded ({error}).", _WHOLE) from error


def _start(path, data: bytes | None) -> bytes:
    if data is not None:
        return data[:32]
    check_regular(path)
    try:
        with open(path, "rb") as file:
            return file.read(32)
    except (OSError, ValueError):  # reading with Pillow will report it
        return b""
