"""Memory of sliding windows over a photograph, with ADE20K's 150 classes."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from jaxseg.inference.windows import cut_windows, make_axis, scaled_size

SIZE, CROP, SCALE = (4000, 6000), (473, 473), 1.75

# Predicts a photograph of one window, then one of the given size; prints by how many bytes the
# second raised the peak memory of the process. The network is narrow: the memory measured here does
# not depend on its width.
PROGRAM = """
import resource, sys
import jax, jax.numpy as jnp, numpy as np
import jaxseg
from jaxseg.inference.sliding import Sliding

model = jaxseg.create_model("pspnet_resnet50", num_classes=150, depth=14, width=0.02)
variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 233, 233, 3)))
sliding = Sliding(model, (233, 233), scales=(1.0,), flip=True, batch_size=4)

def peak(height, width):
    sliding.labels(variables, np.zeros((height, width, 3), np.uint8))
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

width = int(sys.argv[2])
small = peak(233, width)
print(peak(int(sys.argv[1]), width) - small)
"""


def growth(height, width):
    environment = os.environ | {"XLA_FLAGS": ""}
    words = [sys.executable, "-c", PROGRAM, str(height), str(width)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.optimized
def test_memory_does_not_grow_with_the_height():
    """The probabilities of all pixels would take 0.49 GB, and their sum as much again."""
    grown = growth(900, 900)
    print(f"{grown / 1e6:.0f} MB")
    assert grown < 900 * 900 * 150 * 4 / 5


@pytest.mark.parametrize("caffe", [False, True], ids=["semseg", "caffe"])
def test_memory_on_the_host(caffe):
    """Windows are cut one row at a time: at the largest scale a band of 473×10500 pixels."""
    image = np.zeros((*SIZE, 3), np.uint8)
    scaled = scaled_size(SIZE, SCALE, None, caffe)
    rows, columns = (make_axis(SIZE[i], scaled[i], SIZE[i], CROP[i], caffe=caffe) for i in (0, 1))
    tracemalloc.start()
    try:
        windows = sum(1 for _ in cut_windows(image, rows, columns, 1, np.zeros(3), caffe))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert windows == len(columns.starts) and len(rows.starts) > 20
    assert peak < 500e6 < scaled[0] * scaled[1] * 3 * 4  # the whole scaled photograph in float32
