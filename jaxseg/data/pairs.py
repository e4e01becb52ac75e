"""Reads an image together with its mask."""

import os
from collections.abc import Mapping

import numpy as np

from jaxseg.data.images import decode_image
from jaxseg.data.inside import DrawnMask
from jaxseg.data.masks import Colours, decode_mask, to_classes
from jaxseg.data.upright import Frame, Picture, aligned_mask
from jaxseg.errors import InputError
from jaxseg.utils.image_kind import RGB, ImageKind


def read_pair(
    photo: str | os.PathLike,
    mask: str | os.PathLike,
    num_classes: int,
    values: Mapping[int, int] | None = None,
    exif: str = "error",
    colours: Colours | None = None,
    kind: ImageKind = RGB,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a photo as `read_image` does, and the classes of its mask in the same orientation.

    Args:
      photo, mask: the files.
      num_classes, values: as in `read_mask`.
      exif: `config.data.exif`, see `jaxseg.data.upright.aligned_mask`.
      colours: for coloured masks; None: they are rejected.
      kind: kind of the photo.

    Raises:
      InputError: as both functions, or the two differ in size or in their EXIF orientation.
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
    """The classes of a decoded mask, aligned with its upright photo; its size may differ.

    Raises:
      InputError: as `aligned_mask` and `to_classes`.
    """
    frame = Frame(picture.pixels.shape[:2], picture.orientation)
    stored = aligned_mask(frame, mask, exif, photo_file, mask_file)
    return to_classes(stored, mask_file, num_classes, values)


def size_mismatch(
    image_path: str | os.PathLike, image: np.ndarray, mask_path: str | os.PathLike, mask: np.ndarray
) -> InputError:
    """The error for an image and a mask of different sizes."""
    return InputError(
        f"Image {image_path} is {image.shape[1]} wide and {image.shape[0]} high, but its mask "
        f"{mask_path} is {mask.shape[1]} wide and {mask.shape[0]} high.",
        "Resize the image to the size that was annotated, or export the annotations again."
        if isinstance(mask_path, DrawnMask)
        else "Make both the same size, or remove the id from the list.",
    )
