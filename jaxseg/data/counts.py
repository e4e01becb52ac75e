"""Histograms of masks in little memory; `np.bincount` converts its input to 64 bits."""

import numpy as np

_AT_ONCE = 2**18  # pixels


def value_counts(mask: np.ndarray) -> np.ndarray:
    """Counts the values 0..255 in `mask`, uint8 of any shape: int64 [256].

    >>> value_counts(np.array([[0, 2], [2, 255]], np.uint8))[[0, 1, 2, 255]]
    array([1, 0, 2, 1])
    """
    values, counts = mask.reshape(-1), np.zeros(256, np.int64)
    for first in range(0, values.size, _AT_ONCE):
        counts += np.bincount(values[first : first + _AT_ONCE], minlength=256)
    return counts


def present_values(mask: np.ndarray) -> list[int]:
    """Returns the values in `mask`, of any unsigned type, in ascending order.

    >>> present_values(np.array([[70000, 2]], np.uint32))
    [2, 70000]
    """
    if mask.dtype != np.uint8:  # a histogram up to the largest value may not fit in memory
        return np.unique(mask).tolist()
    return np.flatnonzero(value_counts(mask)).tolist()
