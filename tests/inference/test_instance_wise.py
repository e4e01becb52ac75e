"""DeconvNet's windows against one window at a time, resized by Pillow and merged in NumPy."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image

import jaxseg
from jaxseg.errors import InputError
from jaxseg.inference.instances import InstanceWise
from jaxseg.models.preprocessing import CAFFE_VGG

WINDOW = (64, 96)
BOXES = [  # top, left, bottom, right, in an image of 90×150
    (0, 0, 90, 150),  # the whole image: enlarged, it extends beyond all sides
    (10, 20, 60, 70),
    (5, 100, 85, 150),  # at the right edge
    (40, 0, 90, 33),  # in a corner
    (30, 60, 34, 66),  # smaller than the minimum side
    (20, 30, 80, 140),
]


class Small(nn.Module):
    """A network of two convolutions, whose logits are about -5 to 5."""

    preprocessing = CAFFE_VGG

    @nn.compact
    def __call__(self, images):
        x = nn.tanh(nn.Conv(6, (5, 3))(images / 100))
        return nn.Conv(4, (3, 5))(x) * 3


@pytest.fixture(scope="module", params=["small", pytest.param("deconvnet", marks=pytest.mark.slow)])
def network(request):
    model = Small()
    if request.param == "deconvnet":
        model = jaxseg.create_model("deconvnet_vgg16", num_classes=4, width=0.02, fc_kernel=1)
    images = np.random.default_rng(0).normal(0, 50, (1, *WINDOW, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    if request.param == "deconvnet":  # as after training: changed statistics, sizeable logits
        _, mutated = model.apply(variables, images, train=True, mutable="batch_stats")
        variables |= mutated
        score = variables["params"]["score"]
        score["kernel"] *= 5 / np.abs(model.apply(variables, images)).max()
        score["bias"] += np.array([0.5, 0, 1, -1], np.float32)
    return model, variables


@pytest.fixture(scope="module")
def image():
    small = np.random.default_rng(2).integers(0, 256, (9, 15, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((150, 90), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def one_by_one(network, image):
    """`maps(min_side)`: rows, columns and image-resolution logits of each large enough box."""
    model, variables = network
    cache = {}

    def logits_of(box):
        top, left, bottom, right = box
        more_y, more_x = (bottom - top) / 10, (right - left) / 10
        top, left = round(top - more_y), round(left - more_x)
        bottom, right = round(bottom + more_y), round(right + more_x)
        canvas = np.zeros((90 + 200, 150 + 200, 3), np.uint8)
        canvas[100:190, 100:250] = image
        part = Image.fromarray(canvas[top + 100 : bottom + 100, left + 100 : right + 100])
        pixels = np.asarray(part.resize(WINDOW[::-1], Image.Resampling.BILINEAR), np.float32)
        mean = np.array(model.preprocessing.mean, np.float32)
        logits = np.asarray(model.apply(variables, pixels[None] - mean))[0]
        shape = right - left, bottom - top
        laid = [
            np.asarray(Image.fromarray(plane).resize(shape, Image.Resampling.BILINEAR))
            for plane in logits.transpose(2, 0, 1)
        ]
        rows, columns = slice(max(top, 0), min(bottom, 90)), slice(max(left, 0), min(right, 150))
        inside = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        return rows, columns, np.stack(laid, -1)[inside]

    def maps(boxes):
        for box in boxes:
            if box not in cache:
                cache[box] = logits_of(box)
        return [cache[box] for box in boxes]

    return maps


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["max", "mean"])
@pytest.mark.parametrize("count, min_side", [(50, 20), (50, 0), (2, 55), (3, 0)])
def test_against_windows_one_by_one(network, image, one_by_one, overlap, count, min_side):
    model, variables = network
    taken = [b for b in BOXES if min(b[2] - b[0], b[3] - b[1]) * 1.2 >= min_side][:count]
    assert len(taken) == {(50, 20): 5, (50, 0): 6, (2, 55): 2, (3, 0): 3}[count, min_side]
    expected, held = np.zeros((90, 150, 4)), np.zeros((90, 150, 1))
    for rows, columns, logits in one_by_one(taken):
        if overlap == "max":
            expected[rows, columns] = np.maximum(expected[rows, columns], logits)
        else:
            expected[rows, columns] += logits
        held[rows, columns] += 1
    if overlap == "mean":
        expected /= np.maximum(held, 1)

    inference = InstanceWise(model, WINDOW, count, min_side, overlap, find=lambda _: BOXES)
    logits = inference.logits(variables, image)
    assert logits.dtype == np.float32 and np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    likely = inference.probabilities(variables, image)
    np.testing.assert_allclose(likely, softmax(expected), atol=1e-5)
    labels = inference.labels(variables, image)
    assert labels.dtype == np.uint8 and labels.shape == (90, 150)
    np.testing.assert_array_equal(labels, logits.argmax(-1))
    assert len(np.unique(labels)) > 1 or not isinstance(model, Small)


def test_logits_outside_all_windows_are_0(network, image):
    model, variables = network
    for overlap in ("max", "mean"):
        inference = InstanceWise(
            model, WINDOW, min_side=0, overlap=overlap, find=lambda _: [(10, 20, 60, 70)]
        )
        logits, likely = (f(variables, image) for f in (inference.logits, inference.probabilities))
        outside = np.ones((90, 150), bool)
        outside[5:65, 15:75] = False
        assert not logits[outside].any() and logits[~outside].any(-1).mean() > 0.9
        np.testing.assert_array_equal(likely[outside], 0.25)
        assert not inference.labels(variables, image)[outside].any()


@pytest.mark.parametrize("boxes", [[], [(30, 60, 34, 66)]])
def test_an_image_without_windows_is_one(network, image, boxes):
    model, variables = network
    inference = InstanceWise(model, WINDOW, find=lambda _: boxes)
    whole = InstanceWise(model, WINDOW)
    whole.windows = lambda image: [(0, 0, 90, 150)]
    assert inference.windows(image) == [(0, 0, 90, 150)]
    found = inference.logits(variables, image)
    assert found.any()
    np.testing.assert_array_equal(found, whole.logits(variables, image))


def test_another_size_of_the_result(network, image):
    """The windows' logits are resized only once, directly to their place in the result."""
    model, variables = network
    find = lambda _: [(0, 0, 90, 150)]  # noqa: E731
    inference = InstanceWise(model, WINDOW, find=find)
    inference.windows = find
    pixels = Image.fromarray(image).resize(WINDOW[::-1], Image.Resampling.BILINEAR)
    mean = np.array(model.preprocessing.mean, np.float32)
    logits = model.apply(variables, np.asarray(pixels, np.float32)[None] - mean)
    for size in ((45, 75), (91, 301), (1, 1)):
        expected = [
            np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR))
            for plane in np.asarray(logits)[0].transpose(2, 0, 1)
        ]
        expected = np.maximum(np.stack(expected, -1), 0)
        found = inference.logits(variables, image, size)
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_boxes_by_name_are_those_of_a_finder(network, image):
    model, variables = network
    boxes = {"a": BOXES, "b": BOXES[1:3]}
    named = InstanceWise(model, WINDOW, min_side=20, boxes=boxes)
    for name, proposals in boxes.items():
        found = InstanceWise(model, WINDOW, min_side=20, find=lambda _, boxes=proposals: boxes)
        assert found.named(name) is found
        for ask in ("logits", "probabilities", "labels"):
            expected = getattr(found, ask)(variables, image)
            np.testing.assert_array_equal(
                getattr(named.named(name), ask)(variables, image), expected
            )
    assert named.named("a").windows(image) != named.named("b").windows(image)


def test_bad_overlap(network):
    with pytest.raises(InputError, match="overlap is 'sum'"):
        InstanceWise(network[0], overlap="sum")
