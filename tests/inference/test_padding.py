"""Images of several sizes in one batch get the logits of each alone, with few compilations."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.config import default_config, set_field
from jaxseg.data import DataInfo, Example
from jaxseg.evaluation.evaluator import Evaluator
from jaxseg.inference import protocol
from jaxseg.inference.padding import Layouts, padded_heads
from jaxseg.ops.adaptive_pooling import adaptive_avg_pool, adaptive_max_pool
from jaxseg.ops.upsampling import resize_bilinear

C = 4
FCN = ("fcn8s_vgg16", {"width": 0.04, "fc_channels": 64})
PSPNET = ("pspnet_resnet50", {"depth": 14, "width": 0.06})
OTHERS = [
    ("fcn32s_vgg16", {"width": 0.04, "fc_channels": 64, "norm": "batch", "padding": 1}),
    ("fcn16s_vgg16", {"width": 0.04, "fc_channels": 64, "upsampling": "learned"}),
    ("fcn8s_vgg16", {"width": 0.04, "fc_channels": 64, "padding": 1}),
    ("fcn32s_alexnet", {"width": 0.1, "fc_channels": 64}),
    ("fcn32s_googlenet", {"width": 0.1}),
    ("fcn_resnet50", {"depth": 14, "width": 0.06, "align_corners": True}),
    ("fcn_resnet50", {"depth": 14, "width": 0.06, "head_convs": 2, "concat_input": True}),
    ("pspnet_resnet50", {"depth": 14, "width": 0.06, "pooling": "max", "stem": "7x7"}),
    ("pspnet_resnet50", {"depth": 14, "width": 0.06, "align_corners": False, "stride_on": "1x1"}),
    ("pspnet_resnet50", {"depth": 14, "width": 0.06, "output_stride": 16, "bins": (1, 4, 9)}),
]


def check_logits(model, variables, sizes, canvas, within=2e-6):
    rng = np.random.default_rng(1)
    images = rng.normal(0, 3, (len(sizes), *canvas, 3)).astype(np.float32)  # padding is noise, too
    layout = Layouts(model)(variables, canvas, sizes)

    @jax.jit
    def padded(variables, images, layout):
        scores, upsampling = padded_heads(model, variables, images, layout)
        return upsampling(scores)

    got = np.asarray(padded(variables, images, layout))
    filled = np.full_like(images, 100)
    for slot, (height, width) in enumerate(sizes):
        filled[slot, :height, :width] = images[slot, :height, :width]
    of_filled = np.asarray(padded(variables, filled, layout))
    alone = jax.jit(model.apply)
    for slot, (height, width) in enumerate(sizes):
        logits = got[slot, :height, :width]
        np.testing.assert_array_equal(logits, of_filled[slot, :height, :width])
        want = np.asarray(alone(variables, images[slot : slot + 1, :height, :width]))[0]
        assert want.std() > 1e-3
        assert np.abs(logits - want).max() < within * np.abs(want).max(), (height, width)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        pytest.param(*FCN, id="fcn8s"),
        pytest.param(*PSPNET, id="pspnet"),
    ],
)
def test_logits_are_those_of_each_image_alone(random_network, name, fields):
    check_logits(*random_network(name, C, **fields), [(45, 61), (64, 80)], (64, 80))


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "fields"), OTHERS)
def test_logits_of_the_other_networks(random_network, name, fields):
    sizes = [(45, 61), (64, 80), (50, 50), (33, 79)]
    within = 5e-6 if "googlenet" in name else 2e-6  # sums in another order: 2.6e-6 there
    check_logits(*random_network(name, C, **fields), sizes, (64, 80), within)


@pytest.mark.slow
def test_logits_of_deconvnet(random_network):
    """DeconvNet takes only multiples of 32, but mixes such sizes."""
    fields = {"width": 0.04, "fc_channels": 32, "fc_kernel": 2, "bn_epsilon": 1e-5}
    check_logits(*random_network("deconvnet_vgg16", C, **fields), [(64, 96), (96, 64)], (96, 96))


def test_pooling_and_resizing_by_extent(torch):
    """The ops themselves, on images down to one pixel."""
    functional = torch.nn.functional
    x = np.random.default_rng(0).normal(0, 1, (3, 9, 8, 2)).astype(np.float32)
    sizes = [(9, 8), (1, 1), (5, 2)]
    extent = jnp.array(sizes)
    parts = [
        torch.tensor(x[i : i + 1, :h, :w]).permute(0, 3, 1, 2) for i, (h, w) in enumerate(sizes)
    ]
    for ours, theirs in (
        (adaptive_avg_pool, functional.adaptive_avg_pool2d),
        (adaptive_max_pool, functional.adaptive_max_pool2d),
    ):
        got = jax.jit(lambda x, extent, ours=ours: ours(x, (3, 6), extent))(x, extent)
        for one, part in zip(got, parts, strict=True):
            want = theirs(part, (3, 6))[0].permute(1, 2, 0)
            np.testing.assert_allclose(one, want, rtol=0, atol=1e-6)
    small = torch.tensor(x[:, :3, :2]).permute(0, 3, 1, 2)
    for align in (True, False):
        resize = functools.partial(resize_bilinear, size=(9, 8), align_corners=align)
        got = jax.jit(resize)(x[:, :3, :2], extent=extent)
        for i, (h, w) in enumerate(sizes):
            want = functional.interpolate(
                small[i : i + 1], (h, w), mode="bilinear", align_corners=align
            )[0].permute(1, 2, 0)
            np.testing.assert_allclose(got[i, :h, :w], want, rtol=0, atol=1e-6)


class Odd:
    """Twenty noise images of odd sizes; some labels are ignored."""

    info = DataInfo("odd", ("a", "b", "c", "d"), ((0, 0, 0),) * 4)

    def __init__(self):
        rng = np.random.default_rng(2)
        sizes = {(int(h), int(w)) for h, w in rng.integers(17, 48, (40, 2)) * 2 + 1}
        self._sizes = sorted(sizes)[:20]
        assert len(self._sizes) == 20

    def __len__(self):
        return 20

    def size(self, index):
        return self._sizes[index]

    def name(self, index):
        return str(index)

    @functools.cache  # noqa: B019
    def __getitem__(self, index):
        rng = np.random.default_rng((3, index))
        labels = rng.choice([0, 1, 2, 3, 255], self._sizes[index]).astype(np.uint8)
        image = rng.integers(0, 256, (*self._sizes[index], 3), np.uint8)
        return Example(image, labels, str(index))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields", "eval_fields"),
    [
        (*FCN, {"eval.pad_to": 48}),
        pytest.param(*PSPNET, {"eval.pad_to": 48}, marks=pytest.mark.nightly),
        (*PSPNET, {"eval.protocol": "sliding", "eval.crop": (41, 41), "eval.flip": True}),
    ],
    ids=["fcn8s", "pspnet", "pspnet-sliding"],
)
def test_twenty_odd_sizes_score_as_one_by_one(random_network, name, fields, eval_fields, caplog):
    """In batches of eight on eight devices: equal counts, and the expected compilations."""
    model, variables = random_network(name, C, **fields)
    source = Odd()
    config = default_config()
    for field, value in ({"eval.batch_size": 8} | eval_fields).items():
        set_field(config, field, value)
    evaluator = Evaluator.of_run(model, source, config)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        got = evaluator.confusion(variables)
    compiled = [r.getMessage() for r in caplog.records if "Finished XLA" in r.getMessage()]
    networks = [m for m in compiled if "jit(count)" in m or "_window_logits" in m]
    shapes = {tuple(-(-n // 48) for n in source.size(i)) for i in range(20)}
    assert 1 < len(shapes) <= 4
    assert len(networks) == (1 if "eval.crop" in eval_fields else len(shapes))
    alone = protocol(model, config.eval)
    if "eval.pad_to" in eval_fields:
        set_field(config, "eval.pad_to", None)
        alone = protocol(model, config.eval)  # one compilation for each size
    want = np.zeros((C, C), np.int64)
    for i in range(20):
        image, label, _ = source[i]
        prediction = alone.labels(variables, image)
        counted = label != 255
        np.add.at(want, (label[counted], prediction[counted]), 1)
    assert (want.sum(axis=0) > 0).sum() > 1  # more than one class is predicted
    np.testing.assert_array_equal(got, want)
