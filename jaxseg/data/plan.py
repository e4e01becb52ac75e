"""The plan of an image's augmentation, which a device applies."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxseg.data.warp_positions import Sampling


class Plan(NamedTuple):
    """The drawn augmentation of one image, or of a batch, with an additional leading axis.

    Attributes:
      size: int32 [2], height and width of the image.
      rows, row_fractions, columns, column_fractions: the positions of `jaxseg.ops.warp.Positions`,
        int32 and float32 [2, h] and [2, w]; with the margin of a blur if the recipe has one.
      inside: int32 [4], as in `jaxseg.data.warp_positions.Sampling`.
      blurred: bool, whether to blur.
      colours: float32 [3, 6], as in `ColourJitter.matrix`; zeros if the colours do not change.
    """

    size: np.ndarray
    rows: np.ndarray
    row_fractions: np.ndarray
    columns: np.ndarray
    column_fractions: np.ndarray
    inside: np.ndarray
    blurred: np.ndarray
    colours: np.ndarray

    @classmethod
    def of(
        cls, size: tuple[int, int], where: Sampling, blurred: bool, colours: np.ndarray | None
    ) -> "Plan":
        """Creates the plan of one image; splits positions in float64, so that none is rounded."""
        if colours is None:
            colours = np.zeros((3, 6), np.float32)
        return cls(
            np.array(size, np.int32),
            *_split(where.rows),
            *_split(where.columns),
            where.inside,
            np.array(blurred),
            colours,
        )

    @classmethod
    def of_batch(cls, plans: Sequence["Plan"]) -> "Plan":
        """Stacks the plans of several images."""
        return cls(*map(np.stack, zip(*plans, strict=True)))


class Planned(NamedTuple):
    """An example with an augmented label, an unchanged image, and the plan for the image."""

    image: np.ndarray  # uint8 [H, W, 3], RGB
    label: np.ndarray  # uint8 [h, w]
    name: str
    plan: Plan


def _split(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    whole = np.floor(positions)
    return whole.astype(np.int32), (positions - whole).astype(np.float32)
