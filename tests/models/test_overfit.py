"""Each network learns four photographs by heart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg import create_model, metrics
from jaxseg.config import default_config
from jaxseg.data import Augment, Scenes, VocFolder
from jaxseg.inference.whole_image import label_images
from jaxseg.step import create_state, make_train_step

pytestmark = pytest.mark.slow

SIZE = (96, 128)  # multiples of 32, as DeconvNet asks for
NETWORKS = {
    "fcn32s_vgg16": {"norm": "batch", "padding": 1, "fc_channels": 1024},
    "fcn8s_vgg16": {"norm": "batch", "padding": 1, "fc_channels": 1024},
    "fcn32s_alexnet": {"norm": "batch"},
    "fcn32s_googlenet": {"norm": "batch"},
    "fcn_resnet50": {},
    "deconvnet_vgg16": {"fc_kernel": 3, "bn_epsilon": 1e-5},
    "pspnet_resnet50": {},
}


@pytest.fixture(scope="module")
def photographs(request):
    """Four of CamVid's, or generated scenes where it is absent; images, labels and classes."""
    try:
        source = VocFolder(request.getfixturevalue("shared_data") / "camvid", "train")
    except pytest.skip.Exception:
        source = Scenes(0, 4, SIZE)
    resize = Augment(crop=SIZE, scale=(SIZE[0] / 360,) * 2 if len(source) > 4 else (1.0, 1.0))
    pairs = [resize(source[i * (len(source) // 4)], np.random.default_rng(0)) for i in range(4)]
    images = np.stack([pair.image for pair in pairs])
    labels = np.stack([pair.label for pair in pairs])
    return images, labels, source.info.num_classes


@pytest.mark.parametrize("name", NETWORKS)
def test_overfit(name, photographs):
    images, labels, num_classes = photographs
    model = create_model(name, num_classes, width=0.25, dropout=0.0, **NETWORKS[name])
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, 200))
    state = jax.jit(lambda: create_state(model, optimizer, 0, SIZE))()
    step = jax.jit(make_train_step(model, optimizer, default_config().loss, 0), donate_argnums=0)
    losses = []
    for _ in range(200):
        state, values = step(state, images, labels)
        losses.append(float(values["loss"]))
    assert losses[0] > 1 and losses[-1] < 0.1, losses[:: len(losses) // 10]
    prediction = label_images(model, state.variables, images, SIZE)
    counts = metrics.confusion_matrix(jnp.asarray(labels), prediction, num_classes)
    assert metrics.scores(np.asarray(counts))["pixel_accuracy"] > 0.95
