"""Converts tensors of Caffe and PyTorch to those of jaxseg; the results are views."""

import numpy as np


def conv(weight: np.ndarray) -> np.ndarray:
    """A convolution's kernel: [O, I, k, k] to [k, k, I, O]."""
    return weight.transpose(2, 3, 1, 0)


def conv_from_bgr(weight: np.ndarray) -> np.ndarray:
    """The kernel of a first convolution that took its channels in BGR order."""
    return conv(weight)[:, :, ::-1]


def deconv(weight: np.ndarray) -> np.ndarray:
    """A deconvolution's kernel: [I, O, k, k] to [k, k, I, O], see `jaxseg.ops.deconv2d`."""
    return weight.transpose(2, 3, 0, 1)


def vector(array: np.ndarray) -> np.ndarray:
    """One value for each channel, whatever axes of length 1 stand around it."""
    if array.size != max(array.shape, default=1):
        raise ValueError("more than one axis is longer than 1")
    return array.reshape(-1)


def linear(kernel: int):
    """Turns an inner product over a map of `kernel` rows and columns into a convolution.

    Its weight [O, I * kernel * kernel] counts channels first, whatever order the maps here have;
    Caffe's older files store it as [1, 1, O, I * kernel * kernel]. A weight that is a convolution's
    already is taken as it is.
    """

    def convert(weight: np.ndarray) -> np.ndarray:
        if weight.ndim != 4 or weight.shape[:2] == (1, 1):
            outputs, inputs = weight.shape[-2:]
            weight = weight.reshape(outputs, inputs // kernel**2, kernel, kernel)
        return conv(weight)

    return convert


def moving_average(total: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """A statistic of Caffe's own batch norm, which is kept as a sum; `factor` is its weight."""
    weight = vector(factor)[0]
    return vector(total) / weight if weight else np.zeros_like(vector(total))


def outputs(weight: np.ndarray) -> int:
    """How many channels a layer of this weight gives; 0 of a number, which is no weight."""
    return weight.shape[0] if weight.ndim else 0
