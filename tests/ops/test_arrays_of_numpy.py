"""Ops, losses and metrics accept NumPy arrays as well as JAX arrays, as their types say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseg
from jaxseg import losses, metrics, ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 8, 4)).astype(np.float32)
LABELS = RNG.integers(0, 4, (2, 16, 16)).astype(np.int32)
POOLED = RNG.normal(size=(2, 4, 4, 4)).astype(np.float32)
INDICES = (np.arange(16).reshape(1, 4, 4, 1) * np.ones([2, 1, 1, 4])).astype(np.int32)
UP = ops.bilinear_deconv((8, 8), (16, 16), stride=2, kernel=4, offset=1)
SIZE = (16, 16)


@pytest.mark.slow
@pytest.mark.parametrize(
    "function, arrays",
    [
        (lambda x: ops.max_pool(x, 2, 2), [X]),
        (lambda x: ops.max_pool_with_argmax(x, 2, 2), [X]),
        (lambda x, i: ops.max_unpool(x, i, (8, 8)), [POOLED, INDICES]),
        (lambda x: ops.resize_bilinear(x, SIZE, align_corners=True), [X]),
        (lambda x: ops.adaptive_avg_pool(x, 3), [X]),
        (lambda x: ops.adaptive_max_pool(x, 3), [X]),
        (ops.local_response_norm, [X]),
        (UP, [X]),
        (lambda x, y: losses.cross_entropy(x, y, SIZE), [X, LABELS]),
        (lambda x, y: losses.focal(x, y, SIZE), [X, LABELS]),
        (lambda x, y: losses.dice(x, y, SIZE), [X, LABELS]),
        (lambda x, y: losses.ohem(x, y, SIZE), [X, LABELS]),
        (lambda x, y: losses.lovasz(x, y, SIZE), [X, LABELS]),
        (lambda x, y: metrics.coarse_confusion(x, y, UP), [X, LABELS]),
        (lambda x: metrics.predict_labels(x, UP), [X]),
        (lambda y: metrics.confusion_matrix(y, y, 4), [LABELS]),
        (lambda y: metrics.scores(metrics.confusion_matrix(y, y, 4))["iou"], [LABELS]),
        (lambda y: metrics.boundary_counts(y[0], y[0], 4), [LABELS]),
        (
            lambda rgb: jaxseg.normalize(
                rgb, jaxseg.create_model("pspnet_resnet50", 2).preprocessing
            ),
            [LABELS.astype(np.uint8)[..., :3]],
        ),
    ],
)
def test_arrays_of_numpy_give_the_same(function, arrays):
    got, want = function(*arrays), function(*map(jnp.asarray, arrays))
    jax.tree.map(np.testing.assert_array_equal, got, want)
