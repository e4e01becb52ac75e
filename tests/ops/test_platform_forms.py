"""The forms for GPU and TPU have the same values and derivatives as the reference forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import losses, metrics, ops
from jaxseg.ops import implementation
from jaxseg.ops.batch_norm import batch_norm
from jaxseg.ops.confusion import pair_counts
from jaxseg.ops.convolution import conv1x1, conv2d
from jaxseg.ops.deconvolution import deconv2d
from jaxseg.ops.sums import square_sum
from jaxseg.ops.upsampling import align_corners, bilinear_deconv, half_pixel, identity


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def in_form(name, function, *arrays):
    """The result, its tangent, and its gradients for a cotangent, under the form `name`."""

    @jax.jit
    def run(arrays):
        moves = [random(*a.shape, seed=7 + i) for i, a in enumerate(arrays)]
        y, moved = jax.jvp(function, tuple(arrays), tuple(moves))
        back = jax.vjp(function, *arrays)[1]
        dy = jax.tree.map(lambda a: random(*a.shape, seed=3).astype(a.dtype), y)
        return y, moved, back(dy)

    with implementation(name):
        return jax.device_get(run(arrays))


def equal(function, *arrays, form="gpu", tolerance=1e-5):
    got, want = in_form(form, function, *arrays), in_form("reference", function, *arrays)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * (1 + np.abs(b).max()))


CONVOLUTIONS = {  # shape of x, shape of the kernel, arguments
    "1×1": ((2, 5, 4, 3), (1, 1, 3, 4), {}),
    "1×1, strides": ((2, 5, 4, 3), (1, 1, 3, 4), {"strides": 2}),
    "3×3, strides": ((2, 7, 6, 3), (3, 3, 3, 4), {"padding": 1, "strides": 2}),
    "padded beyond reach": ((2, 5, 4, 3), (3, 3, 3, 4), {"padding": 5}),
    "padded beyond reach, strides": ((1, 5, 4, 3), (3, 3, 3, 4), {"padding": 4, "strides": 2}),
    "dilated": ((2, 9, 7, 3), (3, 3, 3, 4), {"padding": 4, "dilation": 4}),
    "dilated beyond the map": ((1, 2, 5, 3), (3, 3, 3, 4), {"padding": 3, "dilation": 3}),
    "dilated, another size": ((1, 9, 7, 3), (3, 3, 3, 4), {"padding": 1, "dilation": 2}),
    "larger than its windows": ((1, 5, 6, 3), (5, 5, 3, 8), {}),
}


@pytest.mark.default_cases(8)
@pytest.mark.parametrize("form", ["gpu", "tpu"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution(name, form):
    shape, kernel, how = CONVOLUTIONS[name]
    equal(lambda x, k: conv2d(x, k, **how), random(*shape), random(*kernel, seed=1), form=form)


@pytest.mark.parametrize("form", ["gpu", "tpu"])
def test_a_deconvolution_of_one_cell(form):
    equal(deconv2d, random(3, 1, 1, 5), random(4, 4, 5, 2, seed=1), form=form)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        (2, 2, 0, True),
        pytest.param((3, 2, 1, False), marks=pytest.mark.slow),
        pytest.param(((3, 2), 1, (1, 0), True), marks=pytest.mark.slow),
    ],
)
def test_max_pooling_with_ties_and_infinities(how):
    """As in the CPU's form, a gradient goes to the first maximum of a window in the image."""
    x = np.random.default_rng(0).integers(0, 3, (2, 7, 6, 3)).astype(np.float32)
    x[0, :4, :4, 0] = -np.inf  # here the padding is a maximum, too
    x[1, 2, 3, 1] = np.nan

    def pooled(x):
        return ops.max_pool(x, *how[:3], ceil_mode=how[3])

    def run(name):
        with implementation(name):
            y, back = jax.vjp(pooled, jnp.asarray(x))
            return y, *back(1 + jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape))

    for got, want in zip(run("gpu"), run("cpu"), strict=True):
        np.testing.assert_array_equal(got, want)


def test_max_pooling_forwards():
    x = jnp.asarray(np.random.default_rng(0).permutation(168).reshape(2, 7, 6, 2), jnp.float32)
    equal(lambda x: ops.max_pool(x, 3, 2, 1), x)


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_pooling_and_unpooling(size):
    """With ties, whose gradient goes to the first place."""
    x = jnp.asarray(np.random.default_rng(0).integers(0, 9, (2, *size, 3)), jnp.float32)

    def pooled_and_back(x, y):
        values, indices = ops.max_pool_with_argmax(x, 2, 2, ceil_mode=True)
        return values, ops.max_unpool(values * y, indices, size, in_place=True)

    half = [-(-n // 2) for n in size]
    equal(pooled_and_back, x, random(2, *half, 3, seed=1), form="tpu", tolerance=1e-6)


@pytest.mark.parametrize("form", ["gpu", "tpu"])
def test_a_convolution_to_few_channels(form):
    equal(conv1x1, random(2, 5, 4, 6), random(1, 1, 6, 3, seed=1), form=form)


@pytest.mark.parametrize("fast", [True, False])
def test_batch_norm(fast):
    function = functools.partial(batch_norm, epsilon=1e-3, fast_variance=fast)
    equal(function, random(2, 5, 4, 3), random(3, seed=1), random(3, seed=2), tolerance=1e-4)


def test_a_sum_of_squares_of_large_and_small_arrays():
    arrays = random(130, 140), random(), random(3, 5), random(2, 9, 1000)
    equal(square_sum, *arrays, tolerance=1e-5)


MAPS = {
    "corners": align_corners((5, 4), (33, 25)),
    "corners, odd": align_corners((5, 4), (31, 26)),
    "centres": half_pixel((5, 4), (17, 23)),
    "smaller": half_pixel((5, 4), (3, 2)),
    "deconvolution": bilinear_deconv((5, 4), (33, 20), stride=8, kernel=16, offset=4),
    "outside of it": bilinear_deconv((5, 4), (40, 36), stride=8, kernel=16),
    "twice": align_corners((5, 4), (33, 25)).resized((21, 40)),
    "nothing": identity((5, 4)),
}


def labels_of(up, classes=4):
    labels = np.random.default_rng(1).integers(0, classes, (2, *up.out_size))
    labels[0, :2], labels[1, 0] = 255, 255
    return jnp.asarray(labels, jnp.uint8)


def same_loss(loss, up, form):
    labels, x = labels_of(up), 3 * random(2, 5, 4, 4)

    def run(name):
        with implementation(name):
            return jax.jit(jax.value_and_grad(lambda x: loss(x, labels, up)))(x)

    for got, want in zip(run(form), run("reference"), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("name", MAPS)
def test_cross_entropy(name):
    same_loss(losses.cross_entropy, MAPS[name], "gpu")


def test_cross_entropy_in_strips_of_a_tpu():
    same_loss(losses.cross_entropy, MAPS["corners"], "tpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        functools.partial(losses.cross_entropy, smoothing=0.1, class_weights=(1, 0, 2, 3)),
        functools.partial(losses.focal, gamma=1.5, reduction="sum"),
        losses.ohem,
        losses.dice,
        losses.lovasz,
    ],
    ids=["smoothed", "focal", "ohem", "dice", "lovasz"],
)
def test_other_losses(loss):
    same_loss(loss, MAPS["corners"], "gpu")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["gpu", "tpu"])
@pytest.mark.parametrize("name", ["centres", "outside of it", "nothing"])
def test_labels_and_counts(name, form):
    up, x = MAPS[name], random(2, 5, 4, 4)

    def run(form):
        with implementation(form):
            return metrics.predict_labels(x, up), metrics.coarse_confusion(x, labels_of(up), up)

    for got, want in zip(run(form), run("reference"), strict=True):
        np.testing.assert_array_equal(got, want)


def test_pairs_by_products_are_counted_in_integers():
    """Also above 256, where bfloat16 has no odd numbers; invalid classes are not counted."""
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(-1, 3, (3, 60, 61)), rng.integers(0, 2, (3, 60, 61))
    with implementation("tpu"):
        got = pair_counts(jnp.asarray(true), jnp.asarray(predicted), 2)
    want = [
        [[((t == i) & (p == j)).sum() for j in (0, 1)] for i in (0, 1)]
        for t, p in zip(true, predicted, strict=True)
    ]
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, want)
    assert got.max() > 256
