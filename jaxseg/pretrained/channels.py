"""Adapts the first convolution of an RGB network to other channels."""

import numpy as np


def is_first(value: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a kernel [k, k, 3, O] of a file differs from the parameter only in its channels.

    >>> is_first(np.zeros((3, 3, 3, 64)), (3, 3, 5, 64)), is_first(np.zeros(64), (64,))
    (True, False)
    """
    return (
        value.ndim == len(shape) == 4
        and value.shape[2] == 3 != shape[2]
        and (value.shape[:2], value.shape[3]) == (shape[:2], shape[3])
    )


def spread(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapts a kernel [k, k, 3, O] for RGB to images with `channels` channels.

    The three kernels are repeated in turn, times 3 / channels, so that an image with equal channels
    gives about the same result as a grey photo. A single channel gets the sum of the three.

    >>> spread(np.ones((1, 1, 3, 1)), 5).ravel()
    array([0.6, 0.6, 0.6, 0.6, 0.6])
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return kernel[:, :, np.arange(channels) % 3] * (3 / channels)


def told(name: str, channels: int) -> str:
    """A sentence on the effect of `spread` on the parameter `name`.

    >>> told("params/conv1_1/kernel", 1)
    'params/conv1_1/kernel: the kernels of red, green and blue are summed for the single channel'
    """
    done = (
        "are summed for the single channel"
        if channels == 1
        else f"are repeated in turn over {channels} channels, times 3/{channels}"
    )
    return f"{name}: the kernels of red, green and blue {done}"
