"""Labels from scores, one byte for each pixel."""

from typing import TypeVar

import jax
import numpy as np

from jaxseg.errors import InputError

_Array = TypeVar("_Array", jax.Array, np.ndarray)


def byte_labels(scores: _Array) -> _Array:
    """The index of the largest of the scores [..., C] as uint8 [...]; ties go to the lower index.

    >>> byte_labels(np.array([[0.1, 0.7, 0.2], [0.5, 0.0, 0.5]]))
    array([1, 0], dtype=uint8)

    Raises:
      InputError: C is above 256, so that a byte cannot hold every index.
    """
    if scores.shape[-1] > 256:
        raise InputError(
            f"The network has {scores.shape[-1]} classes, but labels are bytes.",
            "Use at most 256 classes, or take the argmax of model.apply(variables, images).",
        )
    return scores.argmax(axis=-1).astype(np.uint8)
