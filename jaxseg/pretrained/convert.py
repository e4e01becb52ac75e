"""Converts tensors of Caffe and PyTorch to jaxseg's layout; the results are views."""

import numpy as np


def conv(weight: np.ndarray) -> np.ndarray:
    """A convolution's kernel: [O, I, k, k] to [k, k, I, O]."""
    return weight.transpose(2, 3, 1, 0)


def conv_from_bgr(weight: np.ndarray) -> np.ndarray:
    """The kernel of a first convolution with BGR input, converted to RGB."""
    return conv(weight)[:, :, ::-1]


def deconv(weight: np.ndarray) -> np.ndarray:
    """A deconvolution's kernel: [I, O, k, k] to [k, k, I, O], see `jaxseg.ops.deconv2d`."""
    return weight.transpose(2, 3, 0, 1)


def vector(array: np.ndarray) -> np.ndarray:
    """One value per channel; removes axes of length 1."""
    if array.size != max(array.shape, default=1):
        raise ValueError("more than one axis is longer than 1")
    return array.reshape(-1)


def linear(kernel: int):
    """Returns a function that converts an inner product on a map to a convolution.

    The map has `kernel` rows and columns. The weight [O, I * kernel * kernel] is in the order
    channels, rows, columns. Older Caffe files store it as [1, 1, O, I * kernel * kernel]. A weight
    that already has the shape of a convolution keeps it.
    """

    def convert(weight: np.ndarray) -> np.ndarray:
        if weight.ndim != 4 or weight.shape[:2] == (1, 1):
            outputs, inputs = weight.shape[-2:]
            weight = weight.reshape(outputs, inputs // kernel**2, kernel, kernel)
        return conv(weight)

    return convert


def moving_average(total: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """A statistic of Caffe's BatchNorm layer, stored as a sum; `factor` is the sum of weights."""
    weight = vector(factor)[0]
    return vector(total) / weight if weight else np.zeros_like(vector(total))


def outputs(weight: np.ndarray) -> int:
    """The number of output channels of a layer's weight; 0 for a scalar, which is no weight."""
    return weight.shape[0] if weight.ndim else 0
