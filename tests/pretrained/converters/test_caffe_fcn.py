"""The FCNs released in Caffe give the same logits here."""

import jax
import pytest
from caffe_net import CaffeNet, assert_close, caffe_input, photographs, torch

import jaxseg
from jaxseg import pretrained

TRUNK = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
MEAN = (104.00698793, 116.66876762, 122.67891434)  # BGR
CLASSES = 5


def trunk(net, x, width, hidden):
    """Layers conv1_1 to fc7, and the pools."""
    pools = []
    for block, outputs in enumerate(TRUNK, 1):
        for i, channels in enumerate(outputs, 1):
            pad = 100 if (block, i) == (1, 1) else 1
            x = net.conv_relu(f"conv{block}_{i}", x, round(channels * width), 3, pad)
        x = net.max_pool(x, 2, 2)
        pools.append(x)
    x = net.conv_relu("fc6", x, hidden, 7)
    return net.conv_relu("fc7", x, hidden, 1), pools[3], pools[2]


def fcn32s(net, image, width, hidden, classes=CLASSES):
    x, _, _ = trunk(net, image, width, hidden)
    x = net.conv("score_fr", x, classes, 1)
    return net.crop(net.bilinear("upscore", x, 64, 32), image, 19)


def fcn16s(net, image, width, hidden, classes=CLASSES):
    x, pool4, _ = trunk(net, image, width, hidden)
    x = net.bilinear("upscore2", net.conv("score_fr", x, classes, 1), 4, 2)
    x = x + net.crop(net.conv("score_pool4", pool4, classes, 1), x, 5)
    return net.crop(net.bilinear("upscore16", x, 32, 16), image, 27)


def fcn8s(net, image, width, hidden, classes=CLASSES, at_once=False):
    x, pool4, pool3 = trunk(net, image, width, hidden)
    x = net.bilinear("upscore2", net.conv("score_fr", x, classes, 1), 4, 2)
    if at_once:
        pool4 = net.scale("scale_pool4", pool4, 0.01)
    x = x + net.crop(net.conv("score_pool4", pool4, classes, 1), x, 5)
    x = net.bilinear("upscore_pool4", x, 4, 2)
    if at_once:
        pool3 = net.scale("scale_pool3", pool3, 0.0001)
    x = x + net.crop(net.conv("score_pool3", pool3, classes, 1), x, 9)
    return net.crop(net.bilinear("upscore8", x, 16, 8), image, 31)


def fcn8s_at_once(net, image, width, hidden, classes=CLASSES):
    return fcn8s(net, image, width, hidden, classes, at_once=True)


def fcn8s_cvpr(net, image, width, hidden, classes=CLASSES):
    """score2 and score4 are learned; only score2 has a bias."""
    x, pool4, pool3 = trunk(net, image, width, hidden)
    x = net.deconv("score2", net.conv("score-fr", x, classes, 1), classes, 4, 2)
    x = x + net.crop(net.conv("score-pool4", pool4, classes, 1), x, 5)
    x = net.deconv("score4", x, classes, 4, 2, bias=False)
    x = x + net.crop(net.conv("score-pool3", pool3, classes, 1), x, 9)
    return net.crop(net.bilinear("upsample", x, 16, 8), image, 31)


def alexnet(net, image, width, hidden, classes=CLASSES):
    c1, c2, c3 = (2 * round(c * width) for c in (48, 128, 192))
    x = net.max_pool(net.conv_relu("conv1", image, c1, 11, pad=100, stride=4), 3, 2)
    x = net.conv_relu("conv2", net.lrn(x), c2, 5, pad=2, group=2)
    x = net.lrn(net.max_pool(x, 3, 2))
    x = net.conv_relu("conv3", x, c3, 3, pad=1)
    x = net.conv_relu("conv4", x, c3, 3, pad=1, group=2)
    x = net.max_pool(net.conv_relu("conv5", x, c2, 3, pad=1, group=2), 3, 2)
    x = net.conv_relu("fc7", net.conv_relu("fc6", x, hidden, 6), hidden, 1)
    x = net.conv("score_fr", x, classes, 1)
    return net.crop(net.bilinear("upscore", x, 63, 32), image, 18)


NETWORKS = {  # forward, model, its fields, tensors of the file that the model has built in
    "fcn32s": (fcn32s, "fcn32s_vgg16", {}, {"upscore/0"}),
    "fcn16s": (fcn16s, "fcn16s_vgg16", {}, {"upscore2/0", "upscore16/0"}),
    "fcn8s": (fcn8s, "fcn8s_vgg16", {}, {"upscore2/0", "upscore_pool4/0", "upscore8/0"}),
    "learned": (fcn8s, "fcn8s_vgg16", {"upsampling": "learned"}, {"upscore8/0"}),
    "at once": (
        fcn8s_at_once,
        "fcn8s_atonce_vgg16",
        {},
        {f"{n}/0" for n in "upscore2 upscore_pool4 upscore8 scale_pool4 scale_pool3".split()},
    ),
    "cvpr": (
        fcn8s_cvpr,
        "fcn8s_vgg16",
        {"upsampling": "learned", "upscore2_bias": True},
        {"upsample/0"},
    ),
    "alexnet": (alexnet, "fcn32s_alexnet", {}, {"upscore/0"}),
}


def agrees(path, name, version, width, hidden, classes, sizes):
    """Writes the network, reads it, and compares logits; returns the report."""
    forward, model, fields, unused = NETWORKS[name]
    net = CaffeNet()
    with torch.no_grad():
        forward(net, torch.zeros(1, 3, 32, 32), width, hidden, classes)
        for score, scale in (("score_pool4", 100), ("score_pool3", 10_000)):
            if name == "at once":  # otherwise an error in a strongly scaled-down score is hidden
                net.blobs[score][0] *= scale
        net.write(path, version)
        narrow = {"width": width, "fc_channels": round(hidden / width)}
        model = jaxseg.create_model(model, classes, **narrow, **fields)
        variables, report = pretrained.load(model, path)
        for n, size in enumerate(sizes):
            rgb = photographs(1, size, seed=n)
            got = jax.jit(model.apply)(variables, jaxseg.normalize(rgb, model.preprocessing))
            assert_close(got, forward(net, caffe_input(rgb, MEAN), width, hidden, classes))
    assert not report.kept
    assert set(report.unused) == unused and all(report.unused.values())
    assert len(report.used) == len(jax.tree.leaves(variables))
    return report


def test_fcn8s_has_the_logits_of_caffe(tmp_path):
    agrees(tmp_path / "fcn8s.caffemodel", "fcn8s", "v2", 0.05, 20, CLASSES, [(37, 53)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "version"),
    [(name, v) for name in NETWORKS for v in ("v1", "v2") if (name, v) != ("at once", "v1")],
)  # Caffe's first format has no layer that scales
def test_logits_are_those_of_caffe(tmp_path, name, version):
    sizes = [(37, 53), (65, 35)]
    agrees(tmp_path / "x.caffemodel", name, version, 0.1, 30, CLASSES, sizes)


@pytest.mark.nightly  # the published width takes long to compile
@pytest.mark.parametrize("name", ["fcn8s", "cvpr", "alexnet"])
def test_as_published(tmp_path, name):
    """At full width, with 21 classes."""
    agrees(tmp_path / "x.caffemodel", name, "v1", 1.0, 4096, 21, [(32, 45)])
