"""Exact counts of any number of pixels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils


class Counts:
    """A confusion matrix that is summed in int32 on the devices, and in int64 on the host.

    Args:
      classes: the number of classes, C.
      most: number of pixels to count on the devices before the counts are added on the host.
    """

    def __init__(self, classes: int, most: int = 2**30):
        self._most = most
        self._zero = np.zeros((classes, classes), np.int32)
        self._total = self._zero.astype(np.int64)
        self._recent, self._pixels = jnp.asarray(self._zero), 0

    def add(self, count: Callable[[jax.Array], jax.Array], pixels: int) -> None:
        """Applies `count`, a function that adds at most `pixels` to the [C, C] int32 it receives.

        `pixels` must be below 2**31.
        """
        if self._pixels + pixels > self._most:
            self._total += np.asarray(self._recent)
            self._recent, self._pixels = jnp.asarray(self._zero), 0
        self._recent = count(self._recent)
        self._pixels += pixels

    def total(self) -> np.ndarray:
        """The sum of all counts, [C, C] int64."""
        return self._total + np.asarray(self._recent)


def confusion_of_image(
    truth: np.ndarray, prediction: np.ndarray, classes: int, ignore_label: int
) -> np.ndarray:
    """`metrics.confusion_matrix` on the host, for checked labels: uint8 [H, W] to int64 [C, C].

    >>> confusion_of_image(np.uint8([[0, 1, 255]]), np.uint8([[1, 1, 0]]), 2, 255).tolist()
    [[0, 1], [0, 1]]
    """
    known = truth != ignore_label
    cells = truth[known].astype(np.int64) * classes + prediction[known]
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def over_processes(counts: np.ndarray) -> np.ndarray:
    """The sum of int64 counts over all processes; transfers 31 bits at a time, as int32."""
    if jax.process_count() == 1:
        return counts
    halves = np.stack([counts >> 31, counts & (2**31 - 1)]).astype(np.int32)
    high, low = np.asarray(multihost_utils.process_allgather(halves), np.int64).sum(axis=0)
    return (high << 31) + low
