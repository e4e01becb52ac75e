"""Caffe's layers in PyTorch, from Caffe's documentation, independent of jaxseg.

A network is a function that calls the layers of a `CaffeNet` one after the other. Blobs have
Caffe's order and shapes; they are filled with random values when a layer first runs.
"""

import numpy as np
import pytest
from caffe_writer import write_caffemodel

torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install '.[torch]'")
F = torch.nn.functional


class CaffeNet:
    """Maps are [N, C, H, W]; images are BGR with their mean subtracted."""

    def __init__(self, seed=0):
        self.blobs, self.types = {}, {}
        self.rng = np.random.default_rng(seed)

    def write(self, path, version="v2", before=(), after=()):
        """Writes a .caffemodel of the layers that have run, in their order."""
        layers = [(name, self.types[name], arrays) for name, arrays in self.blobs.items()]
        write_caffemodel(path, [*before, *layers, *after], version)
        return path

    def _blobs(self, name, kind, *makers):
        if name not in self.blobs:
            self.blobs[name] = [np.asarray(make(), np.float32) for make in makers]
            self.types[name] = kind
        return [torch.tensor(blob) for blob in self.blobs[name]]

    def _noise(self, *shape):
        return self.rng.standard_normal(shape, np.float32)

    def _kernel(self, outputs, inputs, window):
        """A random kernel, scaled to keep the size of activations; no axis is symmetric."""
        scale = np.float32(np.sqrt(2 / (inputs * window**2)))
        return lambda: self._noise(outputs, inputs, window, window) * scale

    def _bias(self, outputs):
        return lambda: 0.2 * self._noise(outputs)

    def _positive(self, *shape):
        return lambda: 0.5 + np.abs(self._noise(*shape))

    def conv(self, name, x, outputs, window, pad=0, stride=1, dilation=1, group=1, bias=True):
        kernel = self._kernel(outputs, x.shape[1] // group, window)
        blobs = self._blobs(name, "Convolution", kernel, *[self._bias(outputs)] * bias)
        return F.conv2d(x, *blobs, stride=stride, padding=pad, dilation=dilation, groups=group)

    def relu(self, x):
        return F.relu(x)

    def conv_relu(self, name, x, *args, **how):
        return F.relu(self.conv(name, x, *args, **how))

    def inner_product(self, name, x, outputs):
        """Flattens the input's channels, rows and columns, in this order."""
        x = x.flatten(1)
        scale = np.float32(np.sqrt(2 / x.shape[1]))
        weight = lambda: self._noise(outputs, x.shape[1]) * scale  # noqa: E731
        return F.linear(x, *self._blobs(name, "InnerProduct", weight, self._bias(outputs)))

    def deconv(self, name, x, outputs, window, stride=1, pad=0, bias=True):
        kernel = self._kernel(x.shape[1], outputs, window)
        blobs = self._blobs(name, "Deconvolution", kernel, *[self._bias(outputs)] * bias)
        return F.conv_transpose2d(x, *blobs, stride=stride, padding=pad)

    def bilinear(self, name, x, window, stride):
        """A deconvolution between all channels, with the bilinear filter on its diagonal."""
        c = x.shape[1]

        def make():
            factor = (window + 1) // 2
            centre = factor - 1 if window % 2 else factor - 0.5
            line = 1 - np.abs(np.arange(window) - centre) / factor
            weight = np.zeros((c, c, window, window))
            weight[range(c), range(c)] = np.outer(line, line)
            return weight

        return F.conv_transpose2d(x, *self._blobs(name, "Deconvolution", make), stride=stride)

    def max_pool(self, x, window, stride, pad=0):
        """Rounds sizes up, and ignores padding."""
        return F.max_pool2d(x, window, stride, pad, ceil_mode=True)

    def lrn(self, x):
        return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)

    def scale(self, name, x, value):
        (blob,) = self._blobs(name, "Scale", lambda: np.full(x.shape[1], value))
        return x * blob[:, None, None]

    def crop(self, x, reference, offset):
        height, width = reference.shape[2:]
        x = x[:, :, offset : offset + height, offset : offset + width]
        assert x.shape[2:] == reference.shape[2:]
        return x

    def psp_bn(self, name, x):
        """PSPNet's BN layer: slope, bias, mean and variance."""
        shape = (1, x.shape[1], 1, 1)
        noise = lambda: 0.2 * self._noise(*shape)  # noqa: E731
        positive = self._positive(*shape)
        slope, bias, mean, var = self._blobs(name, "BN", positive, noise, noise, positive)
        return (x - mean) / torch.sqrt(var + 1e-5) * slope + bias

    def bvlc_bn(self, name, x):
        """Caffe's own BatchNorm, whose statistics are sums, followed by a Scale layer."""
        c = x.shape[1]
        factor = 700.3
        mean, var, total = self._blobs(
            name,
            "BatchNorm",
            lambda: factor * 0.2 * self._noise(c),
            lambda: factor * self._positive(c)(),
            lambda: [factor],
        )
        slope, bias = self._blobs(f"{name}/scale", "Scale", self._positive(c), self._bias(c))
        wide = (slice(None), None, None)
        x = (x - (mean / total)[wide]) / torch.sqrt((var / total)[wide] + 1e-5)
        return x * slope[wide] + bias[wide]

    def deconvnet_bn(self, name, x, learn):
        """DeconvNet's BN: normalizes by batch statistics, or (INFERENCE) by a scale and a shift."""
        shape = (1, x.shape[1], 1, 1)
        scale, shift = self._blobs(
            name, "BN", self._positive(*shape), lambda: 0.2 * self._noise(*shape)
        )
        if learn:
            mean = x.mean((0, 2, 3), keepdim=True)
            x = (x - mean) / torch.sqrt(((x - mean) ** 2).mean((0, 2, 3), keepdim=True) + 1e-9)
        return x * scale + shift

    def interp(self, x, size):
        """Bilinear, with aligned corners."""
        return F.interpolate(x, size, mode="bilinear", align_corners=True)


def photographs(n, size, seed=0):
    """Noise: uint8 [n, H, W, 3], RGB."""
    return np.random.default_rng(seed).integers(0, 256, (n, *size, 3), np.uint8)


def caffe_input(rgb, bgr_mean):
    """Caffe's input: [N, 3, H, W], BGR, the mean subtracted."""
    bgr = rgb[..., ::-1].astype(np.float32) - np.float32(bgr_mean)
    return torch.tensor(np.ascontiguousarray(bgr.transpose(0, 3, 1, 2)))


def assert_close(got, want, tolerance=1e-4, outliers=0.0):
    """Checks that no value differs by more than `tolerance` times the largest.

    `want` is [N, C, H, W]; `outliers` is the share of values that may differ more.
    """
    want = want.permute(0, 2, 3, 1).detach().numpy()
    assert got.shape == want.shape
    assert np.isfinite(want).all() and want.std() > 1e-3 * np.abs(want).max() > 0
    allowed = tolerance * np.abs(want).max()
    if outliers:
        assert np.mean(np.abs(got - want) > allowed) <= outliers
    else:
        np.testing.assert_allclose(got, want, rtol=0, atol=allowed)
