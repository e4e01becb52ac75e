"""Under "reference" every op has forward and reverse derivatives of any order, and vmap."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import ops
from jaxseg.ops.adaptive_pooling import adaptive_avg_pools
from jaxseg.ops.batch_norm import batch_norm
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.deconvolution import deconv2d
from jaxseg.ops.pyramid_conv import Resized, pyramid_conv
from jaxseg.ops.remat import remat
from jaxseg.ops.sums import add_bias, square_sum
from jaxseg.ops.upsampling import align_corners


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def unpool(values, indices, in_place):
    return ops.max_unpool(values, indices, (6, 5), in_place=in_place)


X = random(2, 6, 5, 3)
APART = jnp.asarray(
    np.random.default_rng(0).permutation(180).reshape(X.shape) / 20 - 4, jnp.float32
)
INDICES = ops.max_pool_with_argmax(X, 2, 2, ceil_mode=True)[1]
OVERLAPPING = ops.max_pool_with_argmax(X, 3, 1)[1]
OPS = {
    "conv2d": (lambda x, k: conv2d(x, k, 1, dilation=2), X, random(3, 3, 3, 4)),
    "conv2d, strides": (lambda x, k: conv2d(x, k, 0, strides=2), X, random(1, 1, 3, 4)),
    "deconv2d": (lambda x, k: deconv2d(x, k), X[:, :2, :2], random(4, 4, 3, 2)),
    "deconv2d of a cell": (lambda x, k: deconv2d(x, k), X[:, :1, :1], random(3, 3, 3, 2)),
    "deconv2d, strides": (lambda x, k: deconv2d(x, k, strides=2), X, random(4, 4, 3, 2)),
    "max_pool": (lambda x: ops.max_pool(x, (3, 2), 2, 1, ceil_mode=True), APART),
    "max_pool_with_argmax": (lambda x: ops.max_pool_with_argmax(x, 2, (2, 1))[0], APART),
    "max_unpool in place": (lambda v: unpool(v, INDICES, True), random(2, 3, 3, 3)),
    "max_unpool": (lambda v: unpool(v, INDICES, False), random(2, 3, 3, 3)),
    "max_unpool, looking": (lambda v: unpool(v, INDICES, None), random(2, 3, 3, 3)),
    "adaptive_avg_pool": (lambda x: ops.adaptive_avg_pool(x, (2, 4)), X),
    "adaptive_avg_pools": (lambda x: adaptive_avg_pools(x, [1, 2]), X),
    "adaptive_max_pool": (lambda x: ops.adaptive_max_pool(x, 2), APART),
    "resize_bilinear": (lambda x: ops.resize_bilinear(x, (9, 4), align_corners=True), X),
    "local_response_norm": (lambda x: ops.local_response_norm(x, 3), X),
    "batch_norm": (lambda *a: batch_norm(*a), X, random(3, seed=1), random(3, seed=2)),
    "batch_norm, two passes": (
        lambda *a: batch_norm(*a, 1e-3, False),
        X,
        random(3, seed=1),
        random(3, seed=2),
    ),
    "add_bias": (add_bias, X, random(3)),
    "square_sum": (square_sum, X),
    "pyramid_conv": (
        lambda x, cells, k: pyramid_conv(x, [Resized(cells, align_corners((2, 2), (6, 5)))], k),
        X,
        random(2, 2, 2, 2),
        random(3, 3, 5, 2),
    ),
    "remat": (lambda x: remat(lambda scale, x: jnp.sin(scale * x))(jnp.float32(2), x), X),
}


def dot(a, b):
    return sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), a, b)))


@pytest.mark.default_cases(8)
@pytest.mark.parametrize("name", OPS)
def test_reference_forms(reference_form, name):
    """Compares jvp with differences, vjp with jvp, jvp of grad with differences, and vmap."""
    function, *x = OPS[name]
    move = [random(*a.shape, seed=3 + i) for i, a in enumerate(x)]
    dy = jax.tree.map(lambda a: random(*a.shape, seed=9), jax.eval_shape(function, *x))

    def moved(step):
        return [a + step * m for a, m in zip(x, move, strict=True)]

    def gradient(x):
        return jax.grad(lambda x: dot(jax.tree.map(jnp.square, function(*x)), dy))(x)

    @jax.jit
    def run():
        _, forwards = jax.jvp(function, tuple(x), tuple(move))
        _, backwards = jax.vjp(function, *x)
        _, product = jax.jvp(gradient, (x,), (move,))
        each = [jnp.stack(pair) for pair in zip(x, moved(1.0), strict=True)]
        return {
            "jvp": dot(forwards, dy),
            "difference": (dot(function(*moved(1e-3)), dy) - dot(function(*moved(-1e-3)), dy))
            / 2e-3,
            "vjp": dot(list(backwards(dy)), move),
            "product": dot(product, move),
            "its difference": (dot(gradient(moved(5e-3)), move) - dot(gradient(moved(-5e-3)), move))
            / 1e-2,
            "vmap": dot(jax.tree.map(lambda a: a[1], jax.vmap(function)(*each)), dy),
            "moved": dot(function(*moved(1.0)), dy),
        }

    got = jax.device_get(run())
    scale = 1 + abs(got["jvp"])
    np.testing.assert_allclose(got["jvp"], got["difference"], atol=2e-2 * scale)
    np.testing.assert_allclose(got["vjp"], got["jvp"], atol=1e-4 * scale)
    np.testing.assert_allclose(
        got["product"], got["its difference"], atol=3e-2 * (1 + abs(got["product"]))
    )
    np.testing.assert_allclose(got["vmap"], got["moved"], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_unpooling_forwards_is_the_transpose_of_its_gather(reference_form):
    """Also where several values have the same index."""
    run = functools.partial(unpool, indices=OVERLAPPING[:, :3, :3], in_place=False)
    values, move, dy = random(2, 3, 3, 3), random(2, 3, 3, 3, seed=1), random(2, 6, 5, 3, seed=2)
    _, forwards = jax.jvp(run, (values,), (move,))
    (backwards,) = jax.vjp(run, values)[1](dy)
    np.testing.assert_allclose((forwards * dy).sum(), (move * backwards).sum(), rtol=1e-4)
