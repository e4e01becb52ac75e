"""pytorch-fcn's files. It is no package; the reference is an FCN in PyTorch with its names."""

import functools

import numpy as np
import pytest
from torch_state import (
    FullSize,
    assert_same_logits,
    caffe_like,
    on_meta,
    randomized,
    save,
    shapes,
    torch,
)

import jaxseg
from jaxseg import pretrained
from jaxseg.errors import InputError

nn, F = torch.nn, torch.nn.functional
TRUNK = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
LAST = {32: ("upscore", 64, 19), 16: ("upscore16", 32, 27), 8: ("upscore8", 16, 31)}
WIDTH, HIDDEN, CLASSES = 0.0625, 48, 5
SIZES = (41, 57), (66, 35)
slow = pytest.mark.slow


class FCN(nn.Module):
    """Images and logits are [N, C, H, W]; `at_once` scales the pools and has no tensors."""

    def __init__(self, stride, at_once=False, width=1.0, hidden=4096, classes=21):
        super().__init__()
        self.stride, self.at_once = stride, at_once
        channels = 3
        for b, block in enumerate(TRUNK, 1):
            for i, outputs in enumerate((round(c * width) for c in block), 1):
                padding = 100 if (b, i) == (1, 1) else 1
                self.add_module(f"conv{b}_{i}", nn.Conv2d(channels, outputs, 3, padding=padding))
                channels = outputs
        self.fc6, self.fc7 = nn.Conv2d(channels, hidden, 7), nn.Conv2d(hidden, hidden, 1)
        self.score_fr = nn.Conv2d(hidden, classes, 1)

        def up(kernel, stride):
            return nn.ConvTranspose2d(classes, classes, kernel, stride, bias=False)

        if stride < 32:
            self.score_pool4 = nn.Conv2d(round(512 * width), classes, 1)
            self.upscore2 = up(4, 2)
        if stride < 16:
            self.score_pool3 = nn.Conv2d(round(256 * width), classes, 1)
            self.upscore_pool4 = up(4, 2)
        name, kernel, _ = LAST[stride]
        self.add_module(name, up(kernel, stride))

    def forward(self, image):
        x, pools = image, {}
        for b, block in enumerate(TRUNK, 1):
            for i in range(1, len(block) + 1):
                x = F.relu(getattr(self, f"conv{b}_{i}")(x))
            pools[b] = x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        x = self.score_fr(F.relu(self.fc7(F.relu(self.fc6(x)))))
        if self.stride < 32:
            x = self.upscore2(x)
            x = x + crop(self.score_pool4(pools[4] * (0.01 if self.at_once else 1)), x, 5)
        if self.stride < 16:
            x = self.upscore_pool4(x)
            x = x + crop(self.score_pool3(pools[3] * (0.0001 if self.at_once else 1)), x, 9)
        name, _, offset = LAST[self.stride]
        return crop(getattr(self, name)(x), image, offset)


def crop(x, reference, offset):
    rows, columns = reference.shape[2:]
    return x[:, :, offset : offset + rows, offset : offset + columns]


def network(stride, at_once=False, width=WIDTH, hidden=HIDDEN, classes=CLASSES):
    """Random weights; upsampling as published, with a bilinear filter for each class."""
    other = randomized(FCN(stride, at_once, width, hidden, classes))
    for layer in other.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            k = layer.kernel_size[0]
            line = 1 - np.abs(np.arange(k) - (k - 1) / 2) / (k / 2)
            weight = np.zeros(layer.weight.shape)
            weight[range(classes), range(classes)] = np.outer(line, line)
            layer.weight.data = torch.tensor(weight, dtype=torch.float32)
    return other


narrow = functools.partial(
    jaxseg.create_model, num_classes=CLASSES, width=WIDTH, fc_channels=HIDDEN / WIDTH
)
NAMES = [
    ("fcn32s_vgg16", 32, False),
    ("fcn16s_vgg16", 16, False),
    ("fcn8s_vgg16", 8, False),
    ("fcn8s_atonce_vgg16", 8, True),
]


@slow
@pytest.mark.parametrize(("name", "stride", "at_once"), NAMES)
@pytest.mark.parametrize("kind", ["legacy", "safetensors"])
def test_logits_are_those_of_pytorch_fcn(tmp_path, name, stride, at_once, kind):
    other = network(stride, at_once)
    path = save(tmp_path / "from_caffe.pth", other.state_dict(), kind)
    model = narrow(name)
    variables, report = pretrained.load(model, path)
    assert report.title == "pytorch-fcn's FCN" and not report.kept
    assert {n.split(".")[0] for n in report.unused} == {n for n in dir(other) if "upscore" in n}
    assert set(report.unused.values()) == {"fixed bilinear upsampling, built into the network"}
    assert_same_logits(model, variables, other, caffe_like, SIZES)


@slow
def test_learned_upsampling(tmp_path):
    """Weights that do not interpolate are refused, unless the network learns its upsampling."""
    other = network(8)
    noise = 0.1 * torch.tensor(np.random.default_rng(0).standard_normal((CLASSES, CLASSES, 4, 4)))
    other.upscore2.weight.data += noise.float()
    path = save(tmp_path / "fcn8s.pth", {"model_state_dict": other.state_dict(), "epoch": 3})
    with pytest.raises(
        InputError, match="'upscore2.weight', which is not the fixed bilinear kernel"
    ):
        pretrained.load(narrow("fcn8s_vgg16"), path)
    model = narrow("fcn8s_vgg16", upsampling="learned")
    variables, report = pretrained.load(model, path)
    assert set(report.unused) == {"upscore8.weight"}
    assert_same_logits(model, variables, other, caffe_like, SIZES)


@pytest.mark.nightly  # the published width takes long to compile
def test_full_width(tmp_path):
    other = network(8, width=1.0, hidden=4096, classes=21)
    path = save(tmp_path / "fcn8s_from_caffe.pth", other.state_dict())
    model = pretrained.suggest(path).create()
    variables = pretrained.load_pretrained(model, path)
    assert_same_logits(model, variables, other, caffe_like, SIZES[:1])


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("stride", [32, 16, 8])
def test_every_tensor_of_the_published_files(stride):
    full = FullSize(shapes(on_meta(FCN, stride)))
    assert (full.source, full.fit.num_classes) == ("pytorch-fcn_fcn", 21)
    assert (full.fit.model, full.fit.needed()) == (f"fcn{stride}s_vgg16", {})
    assert not full.kept
    assert all("upscore" in name for name in full.unused)


def test_other_networks_are_refused(tmp_path):
    path = save(tmp_path / "fcn16s.pth", network(16).state_dict())
    with pytest.raises(
        InputError, match="stride is 8.*create_model\\('fcn16s_vgg16', num_classes=5"
    ):
        pretrained.load(narrow("fcn8s_vgg16"), path)
    with pytest.raises(InputError, match="padding is 1"):
        pretrained.load(narrow("fcn16s_vgg16", padding=1), path)
    wide = jaxseg.create_model("fcn16s_vgg16", CLASSES, width=0.5)
    with pytest.raises(InputError, match=r"\(32,\) .*'conv1_1.bias' of shape \(4,\)"):
        pretrained.load(wide, path)
