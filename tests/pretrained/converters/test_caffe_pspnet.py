"""The PSPNets released in Caffe give the same logits here."""

import jax
import pytest
from caffe_net import CaffeNet, F, assert_close, caffe_input, photographs, torch

import jaxseg
from jaxseg import pretrained

pytestmark = pytest.mark.slow

MEAN = (103.939, 116.779, 123.68)  # BGR
DEPTHS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def pspnet(net, image, depth, width, classes, norm="psp"):
    """The layers of pspnet50_ADE20K_473.prototxt, for images of 48 * n - 7 rows and columns."""
    bn = net.psp_bn if norm == "psp" else net.bvlc_bn

    def conv_bn(name, x, outputs, window, **how):
        return bn(
            f"{name}/bn", net.conv(name, x, round(outputs * width), window, bias=False, **how)
        )

    x = F.relu(conv_bn("conv1_1_3x3_s2", image, 64, 3, pad=1, stride=2))
    x = F.relu(conv_bn("conv1_2_3x3", x, 64, 3, pad=1))
    x = F.relu(conv_bn("conv1_3_3x3", x, 128, 3, pad=1))
    x = net.max_pool(x, 3, 2, pad=1)
    for stage, blocks, dilation in zip((2, 3, 4, 5), DEPTHS[depth], (1, 1, 2, 4), strict=True):
        planes = 64 * 2 ** (stage - 2)
        for i in range(1, blocks + 1):
            name = f"conv{stage}_{i}"
            stride = 2 if (stage, i) == (3, 1) else 1
            y = F.relu(conv_bn(f"{name}_1x1_reduce", x, planes, 1, stride=stride))
            y = F.relu(conv_bn(f"{name}_3x3", y, planes, 3, pad=dilation, dilation=dilation))
            y = conv_bn(f"{name}_1x1_increase", y, 4 * planes, 1)
            if i == 1:
                x = conv_bn(f"{name}_1x1_proj", x, 4 * planes, 1, stride=stride)
            x = F.relu(x + y)
    levels, last = {}, DEPTHS[depth][-1]
    for bins in (1, 2, 3, 6):
        window = [n // bins for n in x.shape[2:]]
        y = F.avg_pool2d(x, window, window)
        assert y.shape[2:] == (bins, bins)
        y = F.relu(conv_bn(f"conv5_{last}_pool{bins}_conv", y, 512, 1))
        levels[bins] = net.interp(y, x.shape[2:])
    x = torch.cat([x, levels[6], levels[3], levels[2], levels[1]], dim=1)
    x = F.relu(conv_bn(f"conv5_{last + 1}", x, 512, 3, pad=1))
    x = net.conv("conv6", x, classes, 1)
    return net.interp(x, [8 * (n - 1) + 1 for n in x.shape[2:]])


@pytest.mark.parametrize(
    ("depth", "width", "classes", "sizes", "norm"),
    [
        (26, 0.125, 5, [(41, 89), (89, 41)], "psp"),
        (26, 0.125, 5, [(41, 89)], "bvlc"),
        pytest.param(50, 1.0, 150, [(41, 41)], "psp", marks=pytest.mark.nightly),
        pytest.param(101, 1.0, 19, [(41, 41)], "psp", marks=pytest.mark.nightly),
    ],
    ids=["narrow", "batch norm of Caffe's own", "50 as published", "101 as published"],
)
def test_logits_are_those_of_caffe(tmp_path, depth, width, classes, sizes, norm):
    """The four levels have different kernels, so a wrong order of levels is detected."""
    net = CaffeNet()
    with torch.no_grad():
        pspnet(net, torch.zeros(1, 3, 41, 41), depth, width, classes, norm)
        path = net.write(tmp_path / "x.caffemodel", "v2")
        name = f"pspnet_resnet{depth}" if depth > 26 else "pspnet_resnet50"
        model = jaxseg.create_model(name, classes, width=width, depth=depth, stride_on="1x1")
        variables, report = pretrained.load(model, path)
        assert not report.unused
        assert set(report.kept.values()) == {"the file has no auxiliary head"}
        assert all(name.split("/")[1] == "aux" for name in report.kept)
        for n, size in enumerate(sizes):
            rgb = photographs(1, size, seed=n)
            got = jax.jit(model.apply)(variables, jaxseg.normalize(rgb, model.preprocessing))
            assert_close(got, pspnet(net, caffe_input(rgb, MEAN), depth, width, classes, norm))


def test_number_of_layers_is_the_published_one(tmp_path):
    """61 convolutions and 60 batch norms in the 50-layer network, 112 and 111 in the 101-layer."""
    for depth, count in ((50, 61), (101, 112)):
        net = CaffeNet()
        with torch.no_grad():
            pspnet(net, torch.zeros(1, 3, 41, 41), depth, 0.02, 5)
        kinds = list(net.types.values())
        assert (kinds.count("Convolution"), kinds.count("BN")) == (count, count - 1)
