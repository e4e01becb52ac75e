"""An evenly spread sample of a data set, in any order."""

import numpy as np


def evenly_spread(count: int, most: int) -> list[int]:
    """Up to `most` of the indices 0..count-1, evenly spread, including the first and the last.

    >>> evenly_spread(10, 4), evenly_spread(2, 4), evenly_spread(0, 4)
    ([0, 3, 6, 9], [0, 1], [])
    """
    return np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()
