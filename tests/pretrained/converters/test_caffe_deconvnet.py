"""The DeconvNets released in Caffe give the same logits here."""

import jax
import numpy as np
import pytest
from caffe_net import CaffeNet, F, assert_close, caffe_input, photographs, torch

import jaxseg
from jaxseg import pretrained

pytestmark = pytest.mark.slow

MEAN = (104.00698793, 116.66876762, 122.67891434)  # BGR
ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64, 64))
LOSS = [("loss", "SoftmaxWithLoss", [])]


def deconvnet(net, x, width, hidden, classes, learn):
    """The layers of stage_2_train.prototxt, or with `learn=False` those for inference."""

    def block(make, name, norm, x, outputs, window, pad):
        x = make(name, x, outputs, window, pad=pad)
        return F.relu(net.deconvnet_bn(norm, x, learn))

    masks = []
    for b, outputs in enumerate(ENCODER, 1):
        for i, channels in enumerate(outputs, 1):
            name = f"{b}_{i}"
            x = block(net.conv, f"conv{name}", f"bn{name}", x, round(channels * width), 3, 1)
        size = x.shape[2:]
        x, mask = F.max_pool2d(x, 2, 2, return_indices=True)
        masks.append((mask, size))
    x = block(net.conv, "fc6", "bnfc6", x, hidden, 7, 0)
    x = block(net.conv, "fc7", "bnfc7", x, hidden, 1, 0)
    x = block(net.deconv, "fc6-deconv", "fc6-deconv-bn", x, round(512 * width), 7, 0)
    for b, outputs in zip((5, 4, 3, 2, 1), DECODER, strict=True):
        mask, size = masks.pop()
        x = F.max_unpool2d(x, mask, 2, 2, output_size=size)
        for i, channels in enumerate(outputs, 1):
            name = f"{b}_{i}"
            x = block(net.deconv, f"deconv{name}", f"debn{name}", x, round(channels * width), 3, 1)
    return net.conv("seg-score-voc", x, classes, 1)


def imported(tmp_path, width, hidden, classes, learn):
    net = CaffeNet()
    with torch.no_grad():
        deconvnet(net, torch.zeros(1, 3, 224, 224), width, hidden, classes, learn)
    path = net.write(tmp_path / "x.caffemodel", "v1", after=LOSS if learn else [])
    model = jaxseg.create_model(
        "deconvnet_vgg16", classes, width=width, fc_channels=round(hidden / width)
    )
    return net, model, *pretrained.load(model, path)


@pytest.mark.parametrize(
    ("width", "hidden", "classes", "sizes", "outliers"),
    [
        (0.05, 30, 5, [(224, 256), (288, 224)], 0),
        pytest.param(1.0, 4096, 21, [(224, 224)], 0.15, marks=pytest.mark.nightly),
    ],
    ids=["narrow", "as published"],
)
def test_for_inference(tmp_path, width, hidden, classes, sizes, outliers):
    """Batch norm in the file is a scale and a shift.

    At the published width there are millions of maxima, some so close that rounding decides their
    position, and so the position of unpooled values. PyTorch's own logits in float32 and in float64
    differ by more than the tolerance in 3 % of their values.
    """
    net, model, variables, report = imported(tmp_path, width, hidden, classes, learn=False)
    assert not report.kept and not report.unused
    for n, size in enumerate(sizes):
        rgb = photographs(1, size, seed=n)
        got = jax.jit(model.apply)(variables, jaxseg.normalize(rgb, model.preprocessing))
        with torch.no_grad():
            want = deconvnet(net, caffe_input(rgb, MEAN), width, hidden, classes, learn=False)
        assert_close(got, want, outliers=outliers)


def test_as_training_left_it(tmp_path):
    """Normalized by the statistics of the batch, as the network does in training."""
    net, model, variables, report = imported(tmp_path, 0.05, 30, 5, learn=True)
    assert not report.unused and "501" in str(report)
    assert set(report.kept.values()) == {"the file has no batch statistics"}
    assert {name.split("/")[-1] for name in report.kept} == {"mean", "var"}
    for n, size in enumerate([(256, 256), (224, 288)]):
        rgb = photographs(4, size, seed=n)
        images = jaxseg.normalize(rgb, model.preprocessing)
        got, _ = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
            variables, images
        )
        with torch.no_grad():
            want = deconvnet(net, caffe_input(rgb, MEAN), 0.05, 30, 5, learn=True)
        assert_close(got, want)


def test_the_two_kinds_are_told_apart_by_the_loss(tmp_path):
    for learn, kept in ((False, 0), (True, 2 * 29)):
        _, _, variables, report = imported(tmp_path, 0.02, 20, 5, learn)
        assert len(report.kept) == kept
        stats = variables["batch_stats"]["conv1_1"]["bn"]
        np.testing.assert_array_equal(stats["mean"], 0)
        np.testing.assert_allclose(stats["var"], 1)
