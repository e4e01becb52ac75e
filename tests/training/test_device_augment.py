"""Devices augment images as the host does, to one grey level before the colours change."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxseg.data import Augment, Example, Scenes, open_data, train_batches
from jaxseg.data.mixing import augmentation
from jaxseg.errors import InputError
from jaxseg.ops import implementation
from jaxseg.training.device_augment import augmented
from jaxseg.training.setup import Program

FILL = (124, 116, 104)
CROP = (37, 45)


def example(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 90, 2)
    coarse = rng.integers(0, 256, (height // 5, width // 5, 3), np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((width, height)))
    return Example(image, rng.integers(0, 5, (height, width)).astype(np.uint8), str(seed))


def both(recipe, form, count=6):
    """The host's crops and the device's, uint8 [count, h, w, 3] each."""
    augment = Augment(**{"crop": CROP, "fill": FILL, "backend": "pillow"} | recipe)
    images = np.zeros((count, 96, 96, 3), np.uint8)
    host, plans = [], []
    for seed in range(count):
        one = example(seed)
        host.append(augment(one, np.random.default_rng(seed)))
        planned = augment.planned(one, np.random.default_rng(seed))
        np.testing.assert_array_equal(planned.label, host[-1].label)
        images[seed, : one.image.shape[0], : one.image.shape[1]] = planned.image
        plans.append(planned.plan)
    blur, rotated, jitter = (bool(recipe.get(k)) for k in ("blur", "rotation", "hue"))
    with implementation(form):
        run = jax.jit(
            lambda images, plan: augmented(
                images, plan, fill=FILL, blur=blur, rotated=rotated, jitter=jitter
            )
        )
        device = run(images, jax.tree.map(lambda *a: np.stack(a), *plans))
    return np.stack([one.image for one in host]), np.asarray(device)


JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.05, "grayscale": 0.3}
SCALE = {"scale": (0.5, 2.0), "flip": 0.5}


@pytest.mark.parametrize(
    ("recipe", "form", "levels"),
    [
        pytest.param({}, "reference", 0, id="copied"),
        pytest.param({}, "tpu", 0, id="copied, tpu"),
        pytest.param(SCALE, "reference", 1, id="scaled"),
        pytest.param(SCALE, "tpu", 1, id="scaled, tpu"),
        pytest.param(SCALE | {"rotation": 40, "max_class_share": 0.3}, "reference", 1, id="turned"),
        pytest.param(
            {"resize": (50, 71), "scale": (0.3, 1.1), "rotation": 10, "blur": 0.6, "flip": 0.5}
            | {"padding": "centre", "vertical_flip": 0.5},
            "reference",
            1,
            id="blurred",
        ),
        pytest.param(SCALE | JITTER, "reference", 2, id="colours"),
    ],
)
def test_images_are_those_of_the_host(recipe, form, levels):
    host, device = both(recipe, form)
    apart = np.abs(host.astype(int) - device)
    assert apart.max() <= levels and (apart > 0).mean() < 0.02
    assert host.std() > 10


@pytest.mark.slow
def test_a_run_reads_the_images_of_the_host(tiny):
    fields = {"augment.crop": (24, 24), "augment.scale": (0.5, 2.0), "train.batch_size": 8}
    config = tiny(fields)
    source = open_data(config.data, "train", config.seed)
    want = next(
        train_batches(
            source,
            seed=config.seed,
            batch_size=8,
            augment=augmentation(config.augment, source, FILL),
            start_step=3,
        )
    )
    config = tiny(fields | {"augment.on_device": True})
    program = Program(config, source)
    images, labels = next(program.batches(3))
    assert images.sharding.is_equivalent_to(labels.sharding, 3) and len(images.devices()) == 8
    np.testing.assert_array_equal(labels, want.label)
    apart = np.abs(np.asarray(images).astype(int) - want.image)
    inside = want.label != 255  # outside, the network's own mean colour is the fill
    assert apart[inside].max() <= 1


@pytest.mark.parametrize("rotated", [False, True])
def test_a_tpu_gathers_pixels_only_to_rotate(rotated):
    planned = Augment(CROP, fill=FILL).planned(example(0), np.random.default_rng(0))
    plan = jax.tree.map(lambda a: a[None], planned.plan)
    step = jax.jit(
        lambda images, plan: augmented(images, plan, fill=FILL, blur=False, rotated=rotated)
    )
    traced = step.trace(planned.image[None], plan)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert ("stablehlo.gather" in text) == rotated


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"mix": 0.5}, "augment.mix is 0.5"),
        ({"noise": 0.1}, "augment.noise is 0.1"),
        ({"erase": 0.5}, "augment.erase is 0.5"),
        ({"quarter_turns": 0.5}, "augment.quarter_turns is 0.5"),
        ({"crop": None, "scale": (1.0, 1.0)}, "without augment.crop"),
    ],
)
def test_what_devices_cannot_do_is_refused(tiny, fields, problem):
    config = tiny({"augment.crop": (24, 24), "augment.on_device": True})
    for name, value in fields.items():
        config.augment[name] = value
    with pytest.raises(InputError, match=problem):
        augmentation(config.augment, Scenes(0, 2, (32, 32)), FILL)
