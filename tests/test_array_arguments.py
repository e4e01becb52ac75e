"""Public functions accept NumPy arrays, JAX arrays and nested lists, with equal results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseg
from jaxseg import losses, metrics, ops

LOGITS = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, (1, 4, 4), np.int32)
INDICES = np.asarray(ops.max_pool_with_argmax(LOGITS, 2, 2, 0)[1])
POOLED = np.asarray(ops.max_pool_with_argmax(LOGITS, 2, 2, 0)[0])
RGB = np.full((1, 2, 2, 3), 7, np.uint8)
MODEL = jaxseg.create_model("fcn8s_vgg16", 3, width=0.02)

CALLS = {
    **{f"losses.{n}": lambda c, n=n: getattr(losses, n)(c(LOGITS), c(LABELS))
       for n in ("cross_entropy", "focal", "ohem", "dice", "lovasz")},
    "labelled_weight": lambda c: losses.labelled_weight(c(LABELS), 3),
    "confusion_matrix": lambda c: metrics.confusion_matrix(c(LABELS), c(LABELS), 3),
    "coarse_confusion": lambda c: metrics.coarse_confusion(
        c(LOGITS), c(LABELS), ops.align_corners((4, 4), (4, 4))
    ),
    "predict_labels": lambda c: metrics.predict_labels(
        c(LOGITS), ops.align_corners((4, 4), (8, 8))
    ),
    "scores": lambda c: metrics.scores(c(np.eye(3, dtype=np.int64)))["iou"],
    "max_pool": lambda c: ops.max_pool(c(LOGITS), 2, 2),
    "max_pool_with_argmax": lambda c: ops.max_pool_with_argmax(c(LOGITS), 2, 2, 0),
    "max_unpool": lambda c: ops.max_unpool(c(POOLED), c(INDICES), (4, 4)),
    "adaptive_avg_pool": lambda c: ops.adaptive_avg_pool(c(LOGITS), 2),
    "adaptive_max_pool": lambda c: ops.adaptive_max_pool(c(LOGITS), 2),
    "resize_bilinear": lambda c: ops.resize_bilinear(c(LOGITS), (8, 8), align_corners=True),
    "local_response_norm": lambda c: ops.local_response_norm(c(LOGITS)),
    "normalize": lambda c: jaxseg.normalize(c(RGB), MODEL.preprocessing),
}  # fmt: skip


@pytest.mark.default_cases(8)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_kind_of_array(call):
    of_numpy, of_jax, of_lists = (call(c) for c in (np.asarray, jnp.asarray, np.ndarray.tolist))
    jax.tree.map(np.testing.assert_array_equal, of_numpy, of_jax)
    jax.tree.map(np.testing.assert_array_equal, of_numpy, of_lists)


def test_lists_that_are_no_photographs_are_refused():
    for rgb in ([[0.5, 0.1, 0.2]], [[256, 0, 0]], [[-1, 0, 0]]):
        with pytest.raises(jaxseg.errors.InputError, match="normalize got"):
            jaxseg.normalize(rgb, MODEL.preprocessing)


def test_name_names_the_module():
    model = jaxseg.create_model("fcn8s_vgg16", num_classes=3, name="head")
    assert model.name == "head"
