"""Caffe's ImageNet classifiers, converted to convolutions, give the same logits here."""

import jax
import numpy as np
import pytest
from caffe_net import CaffeNet, F, assert_close, caffe_input, photographs, torch
from caffe_writer import write_caffemodel

import jaxseg
from jaxseg import pretrained
from jaxseg.errors import InputError

pytestmark = pytest.mark.slow

MEAN = (104.00698793, 116.66876762, 122.67891434)  # BGR
TRUNK = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
INCEPTIONS = """
    3a 64 96 128 16 32 32
    3b 128 128 192 32 96 64
    4a 192 96 208 16 48 64
    4b 160 112 224 24 64 64
    4c 128 128 256 24 64 64
    4d 112 144 288 32 64 64
    4e 256 160 320 32 128 128
    5a 256 160 320 32 128 128
    5b 384 192 384 48 128 128
"""


def vgg16(net, x, width, hidden, classes, convolutional=False):
    for block, outputs in enumerate(TRUNK, 1):
        for i, channels in enumerate(outputs, 1):
            x = net.conv_relu(f"conv{block}_{i}", x, round(channels * width), 3, 1)
        x = net.max_pool(x, 2, 2)
    if convolutional:  # VGG_ILSVRC_16_layers_conv, the start of DeconvNet
        x = net.conv_relu("fc7", net.conv_relu("fc6", x, hidden, 7), hidden, 1)
        return net.conv("fc8", x, classes, 1)
    x = F.relu(net.inner_product("fc6", x, hidden))
    x = F.relu(net.inner_product("fc7", x, hidden))
    return net.inner_product("fc8", x, classes)


def caffenet(net, x, width, hidden, classes):
    c1, c2, c3 = (2 * round(c * width) for c in (48, 128, 192))
    x = net.lrn(net.max_pool(net.conv_relu("conv1", x, c1, 11, stride=4), 3, 2))
    x = net.conv_relu("conv2", x, c2, 5, pad=2, group=2)
    x = net.lrn(net.max_pool(x, 3, 2))
    x = net.conv_relu("conv3", x, c3, 3, pad=1)
    x = net.conv_relu("conv4", x, c3, 3, pad=1, group=2)
    x = net.max_pool(net.conv_relu("conv5", x, c2, 3, pad=1, group=2), 3, 2)
    x = F.relu(net.inner_product("fc6", x, hidden))
    x = F.relu(net.inner_product("fc7", x, hidden))
    return net.inner_product("fc8", x, classes)


def googlenet(net, x, width, hidden, classes):
    """bvlc_googlenet's deploy.prototxt, with the auxiliary classifiers that its file contains."""

    def conv(name, x, outputs, window, pad=0, stride=1):
        return net.conv_relu(name, x, max(1, round(outputs * width)), window, pad, stride)

    x = net.lrn(net.max_pool(conv("conv1/7x7_s2", x, 64, 7, 3, 2), 3, 2))
    x = conv("conv2/3x3", conv("conv2/3x3_reduce", x, 64, 1), 192, 3, 1)
    x = net.max_pool(net.lrn(x), 3, 2)
    for line in INCEPTIONS.strip().splitlines():
        name, *widths = line.split()
        one, reduce3, three, reduce5, five, projection = map(int, widths)
        at = f"inception_{name}"
        branches = [
            conv(f"{at}/1x1", x, one, 1),
            conv(f"{at}/3x3", conv(f"{at}/3x3_reduce", x, reduce3, 1), three, 3, 1),
            conv(f"{at}/5x5", conv(f"{at}/5x5_reduce", x, reduce5, 1), five, 5, 2),
            conv(f"{at}/pool_proj", net.max_pool(x, 3, 1, 1), projection, 1),
        ]
        x = torch.cat(branches, dim=1)
        if name in ("4a", "4d"):
            aux = {"4a": "loss1", "4d": "loss2"}[name]
            net.conv(f"{aux}/conv", x, 7, 1)
        if name in ("3b", "4e"):
            x = net.max_pool(x, 3, 2)
    return net.inner_product("loss3/classifier", F.avg_pool2d(x, 7), classes)


def written(tmp_path, forward, size, width, hidden, classes, version="v1", **how):
    net = CaffeNet()
    with torch.no_grad():
        forward(net, torch.zeros(1, 3, size, size), width, hidden, classes, **how)
    return net, net.write(tmp_path / "x.caffemodel", version)


def fc8_of(head):
    """The cell at which fc6 sees the whole map and no padding."""
    return head.logits[:, 3:4, 3:4]


def mean_of(head):
    """The average pooling, which comes first in the classifier."""
    return head.logits.mean((1, 2), keepdims=True)


CLASSIFIERS = {  # forward, its image, model, fields, the classifier's logits in the model's
    "vgg16": (vgg16, 224, "fcn32s_vgg16", {"padding": 1}, fc8_of),
    "caffenet": (caffenet, 227, "fcn32s_alexnet", {"padding": 0}, fc8_of),
    "googlenet": (googlenet, 224, "fcn32s_googlenet", {}, mean_of),
}


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_convolutional_classifier_classifies(tmp_path, name, version):
    check(tmp_path, name, version, 0.1, 30, 11)


@pytest.mark.nightly
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_as_published(tmp_path, name):
    """At full width, with 1000 classes."""
    check(tmp_path, name, "v1", 1.0, 4096, 1000)


def check(tmp_path, name, version, width, hidden, classes):
    forward, size, model, fields, logits_of = CLASSIFIERS[name]
    net, path = written(tmp_path, forward, size, width, hidden, classes, version)
    if name != "googlenet":
        fields = fields | {"fc_channels": round(hidden / width)}
    model = jaxseg.create_model(model, classes, width=width, **fields)
    variables, report = pretrained.load(model, path)
    assert not report.kept
    assert {n.split("/")[0] for n in report.unused} == (
        {"loss1", "loss2"} if name == "googlenet" else set()
    )
    rgb = photographs(2, (size, size))
    images = jaxseg.normalize(rgb, model.preprocessing)
    (head,) = jax.jit(lambda v, x: model.apply(v, x, method="heads"))(variables, images)
    with torch.no_grad():
        want = forward(net, caffe_input(rgb, MEAN), width, hidden, classes)
    assert_close(logits_of(head), want[:, :, None, None])


@pytest.mark.parametrize("convolutional", [False, True])
def test_the_trunk_of_every_network_on_vgg16(tmp_path, convolutional):
    """fc7's output is equal; scores and a decoder are initialized."""
    how = {"convolutional": convolutional}
    net, path = written(tmp_path, vgg16, 224, 0.05, 20, 11, **how)
    narrow = {"width": 0.05, "fc_channels": 400}
    rgb = photographs(1, (224, 224))
    for name, new in (
        ("fcn8s_vgg16", {"score_fr", "score_pool4", "score_pool3"}),
        ("fcn8s_atonce_vgg16", {"score_fr", "score_pool4", "score_pool3"}),
        ("fcn16s_vgg16", {"score_fr", "score_pool4"}),
        ("fcn32s_vgg16", {"score_fr"}),
    ):
        model = jaxseg.create_model(name, 5, padding=1, **narrow)
        variables, report = pretrained.load(model, path)
        assert {n.split("/")[1] for n in report.kept} == new
        assert set(report.unused) == {"fc8/0", "fc8/1"} and all(report.unused.values())
        assert all((variables["params"][n]["kernel"] == 0).all() for n in new)
    images = jaxseg.normalize(rgb, model.preprocessing)
    got = jaxseg.features(model, variables, images, ["pool5", "fc7"])
    with torch.no_grad():
        x = caffe_input(rgb, MEAN)
        for block, outputs in enumerate(TRUNK, 1):
            for i, channels in enumerate(outputs, 1):
                x = net.conv_relu(f"conv{block}_{i}", x, round(channels * 0.05), 3, 1)
            x = net.max_pool(x, 2, 2)
        assert_close(got["pool5"], x)
        if convolutional:
            x = net.conv_relu("fc7", net.conv_relu("fc6", x, 20, 7), 20, 1)
        else:
            x = F.relu(net.inner_product("fc7", F.relu(net.inner_product("fc6", x, 20)), 20))
        assert_close(got["fc7"][:, 3:4, 3:4], x.reshape(1, 20, 1, 1))


def test_deconvnet_starts_from_it(tmp_path):
    net, path = written(tmp_path, vgg16, 224, 0.05, 20, 11, convolutional=True)
    model = jaxseg.create_model("deconvnet_vgg16", 5, width=0.05, fc_channels=400)
    variables, report = pretrained.load(model, path)
    params = variables["params"]
    for name, (weight, bias) in net.blobs.items():
        if name == "fc8":
            continue
        weight = weight[:, ::-1] if name == "conv1_1" else weight
        np.testing.assert_array_equal(params[name]["kernel"], weight.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(params[name]["bias"], bias)
        assert f"params/{name}/bn/scale" in report.kept
    assert "params/deconv1_2/kernel" in report.kept and "params/score/kernel" in report.kept
    assert float(params["deconv5_1"]["kernel"].std()) == pytest.approx(0.01, rel=0.1)


def test_kept_parameters_equal_their_initial_values(tmp_path):
    _, path = written(tmp_path, vgg16, 224, 0.05, 20, 11)
    model = jaxseg.create_model("deconvnet_vgg16", 5, width=0.05, fc_channels=400)
    key = jax.random.key(7)
    variables, report = pretrained.load(model, path, rng=key)
    images = jax.numpy.zeros((1, 224, 224, 3))
    start = jax.jit(model.init)(key, images)
    for (where, got), want in zip(
        jax.tree_util.tree_leaves_with_path(variables), jax.tree.leaves(start), strict=True
    ):
        name = "/".join(k.key for k in where)
        if name in report.kept:
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=0)
        else:
            assert got.shape == want.shape and name in report.used
    assert jax.tree.structure(variables) == jax.tree.structure(start)


def test_the_other_alexnet_is_refused(tmp_path):
    """AlexNet normalizes before it pools; otherwise it has CaffeNet's layers."""
    net, _ = written(tmp_path, caffenet, 227, 0.05, 20, 11)
    layers = [(n, net.types[n], blobs) for n, blobs in net.blobs.items()]
    path = tmp_path / "alexnet.caffemodel"
    model = jaxseg.create_model("fcn32s_alexnet", 5, width=0.05, fc_channels=400)
    pool, norm = ("pool1", "Pooling", []), ("norm1", "LRN", [])
    for first, second in ((pool, norm), (norm, pool)):
        write_caffemodel(path, [layers[0], first, second, *layers[1:]], "v1")
        if first is pool:
            pretrained.load(model, path)
            continue
        with pytest.raises(InputError, match="AlexNet"):
            pretrained.load(model, path)
        pretrained.load(model, path, head="reset")
