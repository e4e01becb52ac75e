"""The convolution over upsampled maps, compared with a plain convolution of those maps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import close

from jaxseg.errors import InputError
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.pyramid_conv import Resized, pyramid_conv
from jaxseg.ops.upsampling import half_pixel, resizing

slow = pytest.mark.slow


def arrays(size, bins, k, images=2, dtype=jnp.float32):
    """The features, the levels' cells, and a kernel over both."""
    rng = np.random.default_rng(k + sum(size))
    inputs = [3, *range(2, 2 + len(bins))]  # a different number of channels for each
    shapes = [(images, *size, 3)]
    shapes += [(images, *b, c) for b, c in zip(bins, inputs[1:], strict=True)]
    *maps, kernel = (
        jnp.asarray(rng.standard_normal(shape) + 0.5, dtype)
        for shape in [*shapes, (k, k, sum(inputs), 4)]
    )
    return maps[0], maps[1:], kernel


def beside(x, cells, kernel, align_corners=True, extent=None):
    how = {"align_corners": align_corners, "extent": extent}
    levels = [Resized(c, resizing(c.shape[1:3], x.shape[1:3], **how)) for c in cells]
    return pyramid_conv(x, levels, kernel)


def joined(x, cells, kernel, align_corners=True, extent=None):
    """The plain form: every level is upsampled, and all maps are concatenated."""
    how = {"align_corners": align_corners, "extent": extent}
    maps = [resizing(c.shape[1:3], x.shape[1:3], **how)(c) for c in cells]
    return conv2d(jnp.concatenate([x, *maps], axis=-1), kernel, kernel.shape[0] // 2)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("size", "bins", "k"),
    [
        ((7, 10), [(1, 1), (2, 3), (6, 6)], 3),
        pytest.param((1, 5), [(3, 2)], 3, marks=slow),
        pytest.param((3, 2), [(6, 6), (1, 4)], 5, marks=slow),
        pytest.param((4, 9), [(2, 2)], 1, marks=slow),
        pytest.param((4, 9), [], 3, marks=slow),
    ],
)
def test_values_and_gradients_equal_those_of_concatenated_maps(size, bins, k, align_corners):
    args = arrays(size, bins, k)

    @functools.partial(jax.jit, static_argnums=0)
    def run(form, args):
        y, pull = jax.vjp(functools.partial(form, align_corners=align_corners), *args)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    got, want = run(beside, args), run(joined, args)
    assert got[0].dtype == args[0].dtype
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        close(a, b, 1e-5)


@pytest.mark.slow
def test_images_of_several_sizes_see_zeros_beyond_their_own():
    """In one batch, each in the upper left corner, with the results that it gets alone."""
    x, cells, kernel = arrays((7, 10), [(1, 1), (2, 3)], 3)
    sizes = [(5, 10), (7, 4)]
    for i, (h, w) in enumerate(sizes):
        x = x.at[i, h:].set(0).at[i, :, w:].set(0)
    got = jax.jit(beside)(x, cells, kernel, extent=jnp.array(sizes))
    for i, (h, w) in enumerate(sizes):
        one = slice(i, i + 1)
        want = joined(x[one, :h, :w], [c[one] for c in cells], kernel)
        close(got[one, :h, :w], want, 1e-5)


@pytest.mark.slow
def test_resized_is_zero_beyond_an_images_own_part():
    up = resizing((2, 3), (7, 10), align_corners=True, extent=jnp.array([[5, 10], [7, 4]]))
    y = np.asarray(up(jnp.ones([2, 2, 3, 1])))[..., 0]
    want = np.zeros([2, 7, 10])
    want[0, :5], want[1, :, :4] = 1, 1
    np.testing.assert_allclose(y, want, atol=1e-6)


def test_bfloat16_is_as_exact_as_its_digits():
    x, cells, kernel = arrays((7, 10), [(1, 1), (3, 2)], 3, dtype=jnp.bfloat16)
    got = jax.jit(beside)(x, cells, kernel)
    assert got.dtype == jnp.bfloat16
    exact = jax.jit(joined)(*jax.tree.map(lambda a: a.astype(jnp.float32), (x, cells, kernel)))
    error = np.abs(np.asarray(got, np.float32) - exact)
    assert error.max() <= 2**-7 * np.abs(exact).max()


def test_the_joined_map_is_never_made():
    """No array of the map's size has the levels' channels, forward or backward."""
    x, cells = jnp.ones([1, 40, 41, 2]), [jnp.ones([1, 3, 3, 64])]
    kernel = jnp.ones([3, 3, 66, 4])

    def largest(form):
        def loss(*args):
            return form(*args).sum()

        lowered = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, cells, kernel)
        text = lowered.as_text().replace("tensor<", "\n")
        found = [line.split("xf32>")[0] for line in text.splitlines() if "xf32>" in line]
        return max(np.prod([int(n) for n in f.split("x")]) for f in found if f[0].isdigit())

    assert largest(joined) >= 40 * 41 * 66
    assert largest(beside) < 40 * 41 * 64


def test_a_map_of_another_size_is_refused():
    x, (cells,), kernel = arrays((7, 10), [(2, 3)], 3)
    with pytest.raises(
        InputError,
        match=r"A map of size \(1, 10\) cannot be concatenated with one of size \(7, 10\)",
    ):
        pyramid_conv(x, [Resized(cells, half_pixel((2, 3), (1, 10)))], kernel)
