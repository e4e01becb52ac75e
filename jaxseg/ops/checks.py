"""Checks of arrays; traced arrays, whose values are unknown, pass the checks of values."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxseg.errors import InputError

_ORIENTATION = 0x0112  # tag of EXIF


def as_array(values: ArrayLike) -> jax.Array:
    """Converts nested lists and other array-likes to an array; returns arrays unchanged.

    >>> as_array([[1.0, 2.0]]).shape
    (1, 2)
    """
    return values if hasattr(values, "ndim") else jnp.asarray(values)


def as_pixels(values: ArrayLike) -> jax.Array:
    """`as_array` for an image: lists of integers in 0..255 become uint8.

    >>> as_pixels([[0, 255]]).dtype.name, as_pixels([[0, 256]]).dtype.name
    ('uint8', 'int32')

    Raises:
      InputError: the values are not numbers: None, a list of paths, or an array of objects.
    """
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "kind", None) in ("O", "S", "U"):
        raise InputError(
            f"The array of pixels holds {dtype} values.",
            "Give numbers: np.stack(images) for images of one size, or array.astype(np.uint8).",
        )
    if hasattr(values, "ndim"):
        return values
    if isinstance(values, bytes | bytearray) or hasattr(values, "read"):
        raise InputError(
            f"A {type(values).__name__} is not an array of pixels.",
            "Decode the file first: ImageOps.exif_transpose(Image.open(io.BytesIO(data)))"
            ".convert('RGB') with PIL.",
        )
    _check_upright(values)
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"A {type(values).__name__} is not an array of pixels.",
            "Give one array of numbers, or, where a file is accepted, its path.",
        )
    whole = array.size and np.issubdtype(array.dtype, np.integer)
    fits = whole and array.min() >= 0 and array.max() <= 255
    return jnp.asarray(array.astype(np.uint8) if fits else array)


def _check_upright(image: Any) -> None:
    """Raises InputError for an image of PIL that viewers show rotated: its array is not."""
    tags = getattr(image, "getexif", dict)()
    if tags.get(_ORIENTATION, 1) not in (0, 1):
        raise InputError(
            f"The image has the EXIF orientation {tags[_ORIENTATION]}, which its array would not "
            "show.",
            "Turn it upright with PIL.ImageOps.exif_transpose(image), or give its path.",
        )


def one_image(values: ArrayLike) -> jax.Array:
    """`as_pixels` for a single image.

    Raises:
      InputError: as `as_pixels`, or the array is not [H, W, channels].
    """
    image = as_pixels(values)
    if image.ndim != 3:
        raise InputError(
            f"predict got an array of shape {image.shape}.",
            "Give one image, [H, W, channels]; call predict for each image of a batch.",
        )
    return image


def check_whole(value: int, name: str, smallest: int | None = None) -> None:
    """Raises InputError if `value` is not an integer, or below `smallest`.

    >>> check_whole(21, "num_classes", 1)
    """
    try:
        operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}.", "Give a whole number.") from None
    if smallest is not None and value < smallest:
        raise InputError(f"{name} is {value}.", f"Give a whole number from {smallest} on.")


def check_labels(
    labels: jax.Array | np.ndarray, num_classes: int, ignore_label: int | None, what: str
) -> None:
    """Raises InputError for labels that are not integers or not classes, and for a `num_classes`
    or `ignore_label` that is not an integer.

    Values are checked only if they are known: under `jit` (a tracer), only the dtype is checked.
    """
    check_whole(num_classes, "num_classes", 1)
    if ignore_label is not None:
        check_whole(ignore_label, "ignore_label")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"The {what} are {labels.dtype}.", "Give integers: a class index for each pixel."
        )
    if isinstance(labels, jax.core.Tracer) or not getattr(labels, "is_fully_addressable", True):
        return
    values = np.asarray(labels)
    outside = (values < 0) | (values >= num_classes)
    if ignore_label is not None:
        outside &= values != ignore_label
    wrong = values[outside]
    if wrong.size:
        shown = ", ".join(str(v) for v in np.unique(wrong)[:5])
        if ignore_label is None:
            raise InputError(
                f"The {what} contain {shown}, which is not in 0..{num_classes - 1}.",
                "Give class indices.",
            )
        raise InputError(
            f"The {what} contain {shown}, which is neither in 0..{num_classes - 1} nor the ignore "
            f"label {ignore_label}.",
            "Map them to class indices, or to the ignore label.",
        )
