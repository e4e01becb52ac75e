"""A user's script: mypy --strict must see the types of the whole public API.

mypy reads it, but it is never run; `assert_type` states the expected types.
"""

import pathlib
from typing import Any, assert_type

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxseg
from jaxseg.models import SegmentationModel


def use() -> None:
    rgb = np.zeros([2, 480, 640, 3], np.uint8)
    labels = np.zeros([2, 480, 640], np.int32)

    # A network
    assert_type(jaxseg.list_models(), list[str])
    model = jaxseg.create_model("fcn8s_vgg16", num_classes=21, width=0.25)
    assert_type(model, SegmentationModel)
    images = jaxseg.normalize(rgb, model.preprocessing)
    assert_type(images, jax.Array)
    variables = model.init(jax.random.key(0), images)
    logits = model.apply(variables, images)
    variables = jaxseg.load_pretrained(model, "fcn8s-heavy-pascal.caffemodel", source="caffe")
    variables = jaxseg.load_pretrained(model, pathlib.Path("fcn8s-heavy-pascal.caffemodel"))
    maps = jaxseg.features(model, variables, images, ["pool3", "fc7"])
    assert_type(maps, dict[str, jax.Array])
    moved, left_out = jaxseg.transplant(variables, variables)
    assert_type(left_out, list[str])

    # Predictions: the result's type depends on the arguments
    assert_type(jaxseg.predict(model, variables, "street.jpg"), np.ndarray)
    assert_type(jaxseg.predict(model, variables, rgb[0], probabilities=False), np.ndarray)
    assert_type(
        jaxseg.predict(model, variables, pathlib.Path("street.jpg"), probabilities=True),
        tuple[np.ndarray, np.ndarray],
    )
    network = jaxseg.load("runs/camvid", step="best")
    assert_type(network.predict("street.jpg"), np.ndarray)
    assert_type(network.predict(rgb[0]), np.ndarray)
    assert_type(network.model, SegmentationModel)

    # Array functions accept arrays of NumPy and of JAX
    for x in (np.ones([1, 8, 8, 4], np.float32), jnp.ones([1, 8, 8, 4])):
        values, indices = jaxseg.ops.max_pool_with_argmax(x, 2, (2, 2), padding=0)
        assert_type(values, jax.Array)
        assert_type(jaxseg.ops.max_unpool(values, indices, (8, 8)), jax.Array)
        assert_type(jaxseg.ops.max_pool(x, (2, 2), 2, ceil_mode=True), jax.Array)
        assert_type(jaxseg.ops.resize_bilinear(x, (16, 16), align_corners=True), jax.Array)
        assert_type(jaxseg.ops.adaptive_avg_pool(x, 3), jax.Array)
        assert_type(jaxseg.ops.adaptive_max_pool(x, (3, 2)), jax.Array)
        assert_type(jaxseg.ops.local_response_norm(x), jax.Array)
        upsampling = jaxseg.ops.bilinear_deconv((8, 8), (16, 16), stride=2, kernel=4, offset=1)
        assert_type(upsampling, jaxseg.ops.Upsampling)
        assert_type(upsampling(x), jax.Array)
    with jaxseg.ops.implementation("reference"):
        assert_type(jaxseg.ops.max_pool(images, 2, 2), jax.Array)

    # Losses and metrics, given the whole map, a size or a head's own resize
    head = model.apply(variables, images, method="heads")[0]
    loss = jaxseg.losses.cross_entropy(logits, labels, head.upsampling, ignore_label=255)
    assert_type(loss, jax.Array)
    assert_type(jaxseg.losses.focal(np.ones([1, 4, 4, 3]), labels, (480, 640)), jax.Array)
    assert_type(jaxseg.losses.dice(images, labels, class_weights=[1.0, 2.0]), jax.Array)
    assert_type(jaxseg.losses.ohem(images, labels), jax.Array)
    assert_type(jaxseg.losses.lovasz(images, jnp.asarray(labels)), jax.Array)
    confusion = jaxseg.metrics.confusion_matrix(labels, labels, 21, ignore_label=255)
    assert_type(confusion, jax.Array)
    for counts in (confusion, np.asarray(confusion)):
        scores = jaxseg.metrics.scores(counts, absent="nan")
        assert_type(scores, dict[str, Any])
    assert_type(jaxseg.metrics.coarse_confusion(logits, labels, upsampling), jax.Array)
    assert_type(jaxseg.metrics.predict_labels(logits, upsampling), jax.Array)
    assert_type(jaxseg.metrics.boundary_counts(labels[0], labels[0], 21), np.ndarray)

    # A custom training loop
    optimizer = optax.sgd(0.1)
    state = jaxseg.create_state(model, optimizer, 0, (480, 640))
    step = jaxseg.make_train_step(model, optimizer, {"name": "cross_entropy", "smoothing": 0.1})
    state, metrics = step(state, images, jnp.asarray(labels))
    assert_type(metrics, dict[str, jax.Array])
    evaluate = jaxseg.make_eval_step(model)
    counts = evaluate(variables, images, jnp.asarray(labels), jnp.ones([2], bool))
    assert_type(counts, jax.Array)
