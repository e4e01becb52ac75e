"""What sliding windows keep in memory for a photograph of 6000×4000 with ADE20K's 150 classes.

The plan of the windows is worked through as it is, the programs are compiled as they are; but they
are not run, and the network is a narrow one: what is kept does not depend on its width.
"""

import functools
import tracemalloc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseg
from jaxseg.inference import sliding
from jaxseg.inference.sliding import Sliding
from jaxseg.inference.windows import cut_windows, make_axis, scaled_size

CLASSES, SIZE, CROP = 150, (4000, 6000), (473, 473)
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


class Batch:
    """Stands for the scores of a batch of windows."""

    def addressable_data(self, _):
        return self


def planned(base_size, size, monkeypatch):
    """Bytes on the device by what they are of: scores, strips, temporaries of each program."""
    model = jaxseg.create_model("pspnet_resnet50", num_classes=CLASSES, depth=14, width=0.02)
    like = jax.ShapeDtypeStruct((1, *CROP, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), like)
    under_test = Sliding(
        model, CROP, base_size=base_size, scales=SCALES, flip=True, batch_size=jax.device_count()
    )
    windows = jax.ShapeDtypeStruct((jax.device_count(), *CROP, 3), jnp.float32)
    network, add = under_test._scores.lower(variables, windows), under_test._add
    scores = jax.eval_shape(under_test._scores, variables, windows)
    alive, most, calls = weakref.WeakSet(), 0, {}

    def score(*_):
        nonlocal most
        batch = Batch()
        alive.add(batch)
        most = max(most, len(alive))
        return batch

    def record(strip, batch, slot, *rest):
        shapes = [jax.ShapeDtypeStruct(np.shape(a), jnp.asarray(a).dtype) for a in (slot, *rest)]
        calls[str(shapes)] = (strip, scores, *shapes)
        return strip

    def no_pixels(image, rows, columns, *_):
        return (np.zeros((1, 1, 3), np.float32) for _ in columns.starts)

    under_test._scores, under_test._add = score, record
    under_test._given = under_test._placed = variables
    image, result = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(sliding, "cut_windows", no_pixels)
        patch.setattr(jnp, "zeros", functools.cache(jnp.zeros))  # nothing is added to the strips
        under_test._run(variables, image, result, lambda strip: result[: len(strip)])
    strip = next(iter(calls.values()))[0]
    programs = [add.lower(*call).compile().memory_analysis() for call in calls.values()]
    assert all(p.alias_size_in_bytes == strip.nbytes for p in programs)  # it is added to in place
    return {
        "scores": most * scores.size * 4,
        "strips": 2 * strip.nbytes,  # the one before is read meanwhile
        "network": network.compile().memory_analysis().temp_size_in_bytes,
        "adding": max(p.temp_size_in_bytes for p in programs),
    }


@pytest.mark.slow
@pytest.mark.parametrize("base_size", [None, 512])
def test_memory_on_the_device(base_size, monkeypatch):
    """The probabilities of all pixels would take 14.4 GB, those of each scale as much again."""
    parts = planned(base_size, SIZE, monkeypatch)
    print({name: f"{size / 1e6:.0f} MB" for name, size in parts.items()})
    assert sum(parts.values()) < 2.5e9 < 4 * SIZE[0] * SIZE[1] * CLASSES / 5
    twice = planned(base_size, (2 * SIZE[0], SIZE[1]), monkeypatch)
    assert sum(twice.values()) < 1.1 * sum(parts.values())  # it does not grow with the height


@pytest.mark.parametrize("caffe", [False, True], ids=["semseg", "caffe"])
def test_memory_on_the_host(caffe):
    """One row of windows is cut at a time, at the largest scale a band of 473×10500 pixels."""
    image = np.zeros((*SIZE, 3), np.uint8)
    scaled = scaled_size(SIZE, SCALES[-1], None, caffe)
    rows, columns = (make_axis(SIZE[i], scaled[i], SIZE[i], CROP[i], caffe=caffe) for i in (0, 1))
    tracemalloc.start()
    try:
        windows = sum(1 for _ in cut_windows(image, rows, columns, 1, np.zeros(3), caffe))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert windows == len(columns.starts) and len(rows.starts) > 20
    assert peak < 500e6 < scaled[0] * scaled[1] * 3 * 4  # the scaled photograph itself, in float32
