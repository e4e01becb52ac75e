"""Other forms of a convolution to compare with, and their gradients."""

import jax
import numpy as np
from jax import lax


def close(got, want, tolerance=1e-5):
    """Compares to `tolerance` of the largest value."""
    assert got.shape == want.shape
    want = np.asarray(want, np.float32)
    np.testing.assert_allclose(
        np.asarray(got, np.float32), want, rtol=0, atol=tolerance * np.abs(want).max()
    )


def conv_loop(x, kernel, padding, dilation):
    """One product for each kernel position."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    k = kernel.shape[0]
    height, width = x.shape[1] - dilation * (k - 1), x.shape[2] - dilation * (k - 1)
    return sum(
        np.einsum(
            "nhwi,io->nhwo",
            x[:, i * dilation : i * dilation + height, j * dilation : j * dilation + width],
            kernel[i, j],
        )
        for i in range(k)
        for j in range(k)
    )


def xla(x, kernel, padding, *, dilation=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


def with_gradients(conv, padding, dilation=1):
    """Returns a function of (x, kernel, dy): the convolution and its two gradients."""

    def run(x, kernel, dy):
        how = {} if dilation == 1 else {"dilation": dilation}
        y, back = jax.vjp(lambda x, kernel: conv(x, kernel, padding, **how), x, kernel)
        return y, *back(dy)

    return run


def torchs(torch, x, kernel, dy, padding, dilation):
    """PyTorch's convolution and its two gradients."""
    tx, tk = (torch.tensor(np.asarray(a), requires_grad=True) for a in (x, kernel))
    y = torch.nn.functional.conv2d(
        tx.permute(0, 3, 1, 2), tk.permute(3, 2, 0, 1), padding=padding, dilation=dilation
    ).permute(0, 2, 3, 1)
    y.backward(torch.tensor(np.asarray(dy)))
    return y.detach(), tx.grad, tk.grad
