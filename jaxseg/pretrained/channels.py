"""The first convolution of a network for photographs, made to take other channels."""

import numpy as np


def is_first(value: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a kernel [k, k, 3, O] of a file has only other channels than the one it is for.

    >>> is_first(np.zeros((3, 3, 3, 64)), (3, 3, 5, 64)), is_first(np.zeros(64), (64,))
    (True, False)
    """
    return (
        value.ndim == len(shape) == 4
        and value.shape[2] == 3 != shape[2]
        and (value.shape[:2], value.shape[3]) == (shape[:2], shape[3])
    )


def spread(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel [k, k, 3, O] of red, green and blue for images of so many channels.

    They take the three kernels in turn, times 3 / channels: an image whose channels are all alike
    gives about what a grey photograph gave. A single channel takes the sum of the three.

    >>> spread(np.ones((1, 1, 3, 1)), 5).ravel()
    array([0.6, 0.6, 0.6, 0.6, 0.6])
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return kernel[:, :, np.arange(channels) % 3] * (3 / channels)


def told(name: str, channels: int) -> str:
    """What `spread` did to the parameter `name`, in a sentence.

    >>> told("params/conv1_1/kernel", 1)
    'params/conv1_1/kernel: the kernels of red, green and blue are summed for the single channel'
    """
    done = (
        "are summed for the single channel"
        if channels == 1
        else f"are repeated in turn over {channels} channels, times 3/{channels}"
    )
    return f"{name}: the kernels of red, green and blue {done}"
