"""Memory of the compiled evaluation, at Cityscapes' size with ADE20K's number of classes."""

import jax
import jax.numpy as jnp
import pytest

import jaxseg
from jaxseg.config import default_config
from jaxseg.data import DataInfo
from jaxseg.evaluation.evaluator import Evaluator

SIZE = (1024, 2048)


class Nothing:
    """A data set of which only the classes are used."""

    def __init__(self, classes):
        self.info = DataInfo("nothing", tuple(map(str, range(classes))), ((0, 0, 0),) * classes)


def temporary(classes, name="pspnet_resnet50", **fields):
    """Temporary bytes for counting one image, as XLA plans them."""
    config = default_config()
    config.eval.batch_size = 1
    model = jaxseg.create_model(name, num_classes=classes, **fields)
    evaluator = Evaluator.of_run(model, Nothing(classes), config, jax.devices()[:1])
    image = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct((1, *SIZE), jnp.uint8)
    total = jax.ShapeDtypeStruct((classes, classes), jnp.int32)
    like = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), like)
    lowered = evaluator.count.lower(variables, image, labels, total, None)
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.optimized
def test_memory_does_not_grow_with_classes_times_pixels():
    """Plain logits of 150 classes would take 1.26 GB, 1.1 GB more than those of 19 classes."""
    fields = {"depth": 14, "width": 0.02}
    few, many = (temporary(classes, **fields) for classes in (19, 150))
    pixels = SIZE[0] * SIZE[1]
    print(f"{few / 1e6:.0f} MB for 19 classes, {many / 1e6:.0f} MB for 150")
    assert many < pixels * 150 * 4 / 8
    assert many - few < pixels * (150 - 19) * 4 / 8
