"""torchvision's ResNets and FCNs, by torchvision if it is installed, else by a copy of its graph.

Its VGG16s are in `test_pytorch_vgg.py`.
"""

import functools

import numpy as np
import pytest
from torch_state import (
    SIZES,
    FullSize,
    assert_close,
    assert_same_logits,
    on_meta,
    photographs,
    randomized,
    save,
    shapes,
    standardized,
    torch,
)

import jaxseg
from jaxseg import pretrained
from jaxseg.errors import InputError

torch_resnet = pytest.importorskip("torch_resnet")

F = torch.nn.functional
CLASSES = 5
slow = pytest.mark.slow
both = pytest.mark.parametrize(
    "reference", [pytest.param("graph", marks=pytest.mark.nightly), "torchvision"]
)


def models():
    import peers

    return peers.torchvision().models


def fcn(reference, aux=True):
    """Depth 14; torchvision's own network has full width, which cannot be changed."""
    if reference == "graph":
        other = torch_resnet.FCNResNet(CLASSES, 14, 0.125)
        if not aux:
            del other.aux_classifier
        return randomized(other)
    resnet = models().resnet
    trunk = resnet.ResNet(
        resnet.Bottleneck, [1, 1, 1, 1], replace_stride_with_dilation=[False, True, True]
    )
    from torchvision.models.segmentation.fcn import _fcn_resnet

    return randomized(_fcn_resnet(trunk, CLASSES, aux))


def width(reference):
    return 1.0 if reference == "torchvision" else 0.125


def main_head(reference, other):
    if reference == "torchvision":
        return lambda x: other(x)["out"]
    b = other.backbone

    def forward(image):
        x = F.max_pool2d(F.relu(b.bn1(b.conv1(image))), 3, 2, 1)
        x = other.classifier(b.layer4(b.layer3(b.layer2(b.layer1(x)))))
        return F.interpolate(x, image.shape[2:], mode="bilinear", align_corners=False)

    return forward


@slow
@both
@pytest.mark.parametrize(("aux", "kind"), [(True, "zip"), (True, "legacy"), (False, "safetensors")])
def test_logits_are_those_of_torchvision(tmp_path, reference, aux, kind):
    other = fcn(reference, aux)
    path = save(tmp_path / "fcn_resnet_coco.pth", other.state_dict(), kind)
    model = jaxseg.create_model("fcn_resnet50", CLASSES, depth=14, width=width(reference))
    variables, report = pretrained.load(model, path)
    assert report.title == "torchvision's FCN on a ResNet"
    assert {name.split("/")[1] for name in report.kept} == (set() if aux else {"aux"})
    assert all(name.endswith("num_batches_tracked") for name in report.unused)
    assert_same_logits(model, variables, main_head(reference, other))


@slow
def test_auxiliary_head_is_torchvisions(tmp_path):
    """Applies its parameters, in training, to the trunk's output with batch statistics."""
    other = fcn("graph").train()
    path = save(tmp_path / "fcn_resnet_coco.pth", other.state_dict())
    model = jaxseg.create_model("fcn_resnet50", CLASSES, depth=14, width=0.125, dropout=0.0)
    variables = pretrained.load_pretrained(model, path)
    rgb = photographs((65, 73), n=4)
    heads, _ = model.apply(
        variables,
        jaxseg.normalize(rgb, model.preprocessing),
        train=True,
        method="heads",
        mutable=["batch_stats"],
    )
    for head, want in zip(heads, other.main_aux(standardized(rgb)), strict=True):
        assert_close(head.upsampled(), want, 1e-3)


def imagenet(state, prefix="backbone."):
    """An ImageNet classifier's tensors, made from an FCN's."""
    named = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    inputs = 4 * len(named["layer4.0.bn1.weight"])
    weight = np.random.default_rng(1).standard_normal((7, inputs)).astype(np.float32)
    return named | {"fc.weight": torch.tensor(weight), "fc.bias": torch.arange(7.0)}


@slow
@both
@pytest.mark.parametrize("name", ["fcn_resnet50", "pspnet_resnet50"])
def test_trunk_is_the_classifiers(tmp_path, reference, name):
    """Without dilation, the file's fc on the mean of the last stage gives the file's scores."""
    if reference == "graph":
        other = randomized(torch_resnet.FCNResNet(CLASSES, 14, 0.125, output_stride=32))
        state = imagenet(other.state_dict())
    else:
        resnet = models().resnet
        other = randomized(resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=7))
        state = other.state_dict()
    path = save(tmp_path / "resnet.pth", state)
    fields = {"depth": 14, "width": width(reference), "output_stride": 32, "stem": "7x7"}
    model = jaxseg.create_model(name, CLASSES, **fields)
    variables, report = pretrained.load(model, path)
    assert report.title == "torchvision's ImageNet ResNet"
    assert not [kept for kept in report.kept if "/backbone/" in kept]
    assert report.unused["fc.weight"] == "the logits layer of the ImageNet classes"
    for size in SIZES:
        rgb = photographs(size)
        x = standardized(rgb)
        with torch.no_grad():
            if reference == "graph":
                b = other.backbone
                x = F.max_pool2d(F.relu(b.bn1(b.conv1(x))), 3, 2, 1)
                x = b.layer4(b.layer3(b.layer2(b.layer1(x)))).mean((2, 3))
                want = F.linear(x, state["fc.weight"], state["fc.bias"])
            else:
                want = other(x)
        x = jaxseg.normalize(rgb, model.preprocessing)
        last = jaxseg.features(model, variables, x, ["backbone/layer4"])["backbone/layer4"]
        got = last.mean((1, 2)) @ state["fc.weight"].numpy().T + state["fc.bias"].numpy()
        assert_close(got[:, None, None], want[:, :, None, None])


@slow
@both
def test_full_width(tmp_path, reference):
    if reference == "torchvision":
        other = models().segmentation.fcn_resnet50(
            weights=None, weights_backbone=None, num_classes=21, aux_loss=True
        )
    else:
        other = torch_resnet.FCNResNet(21, 50)
    other = randomized(other)
    path = save(tmp_path / "fcn_resnet50_coco.pth", other.state_dict())
    model = pretrained.suggest(path).create()
    variables = pretrained.load_pretrained(model, path)
    assert_same_logits(model, variables, main_head(reference, other), sizes=[(97, 65)])


@pytest.mark.parametrize("depth", [50, pytest.param(101, marks=slow)])
def test_every_tensor_of_the_published_fcns(depth):
    full = FullSize(shapes(on_meta(torch_resnet.FCNResNet, 21, depth)))
    assert (full.source, full.fit.num_classes) == ("torchvision_fcn-resnet", 21)
    assert (full.fit.model, full.fit.needed()) == (f"fcn_resnet{depth}", {})
    assert not full.kept
    assert {name.split(".")[-1] for name in full.unused} == {"num_batches_tracked"}


def classifier(depth):
    """Names and shapes of a published ImageNet ResNet's tensors."""
    other = shapes(on_meta(torch_resnet.FCNResNet, 21, depth))
    prefix = "backbone."
    trunk = {n.removeprefix(prefix): s for n, s in other.items() if n.startswith(prefix)}
    return trunk | {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


@slow
@pytest.mark.parametrize(
    ("depth", "name", "tensors"),
    [(50, "fcn_resnet50", 320), (101, "fcn_resnet101", 626), (152, "pspnet_resnet152", 932)],
)
def test_every_tensor_of_the_published_resnets(monkeypatch, depth, name, tensors):
    monkeypatch.setitem(torch_resnet.BLOCKS, 152, (3, 8, 36, 3))
    theirs = classifier(depth)
    assert len(theirs) == tensors
    full = FullSize(theirs)
    assert (full.source, full.fit.model) == ("torchvision_resnet", name)
    assert not [kept for kept in full.kept if "/backbone/" in kept]
    assert {"fc.weight", "fc.bias"} == {n for n in full.unused if "num_batches" not in n}


@slow
@pytest.mark.parametrize("depth", [50, 101, 152])
def test_names_and_shapes_are_those_of_torchvision(monkeypatch, depth):
    monkeypatch.setitem(torch_resnet.BLOCKS, 152, (3, 8, 36, 3))
    assert shapes(on_meta(getattr(models(), f"resnet{depth}"))) == classifier(depth)
    if depth < 152:
        make = getattr(models().segmentation, f"fcn_resnet{depth}")
        make = functools.partial(make, weights=None, weights_backbone=None, num_classes=21)
        want = shapes(on_meta(make, aux_loss=True))
        assert shapes(on_meta(torch_resnet.FCNResNet, 21, depth)) == want


def test_resnet_wants_its_own_stem(tmp_path):
    state = imagenet(torch_resnet.FCNResNet(CLASSES, 14, 0.125).state_dict())
    path = save(tmp_path / "resnet.pth", state)
    with pytest.raises(InputError, match="stem is 'deep'") as caught:
        pretrained.load(jaxseg.create_model("pspnet_resnet50", 5, depth=14), path)
    assert "num_classes=5, depth=14, stem='7x7')" in caught.value.remedy
    assert pretrained.suggest(path, "pspnet_resnet50").needed() == {"depth": 14, "stem": "7x7"}
    basic = {n: t for n, t in state.items() if "conv3" not in n}
    with pytest.raises(InputError, match="1, 1, 1, 1 basic blocks"):
        pretrained.suggest(save(tmp_path / "resnet18.pth", basic))


ALEXNET = {
    0: (64, 3, 11, 11),
    3: (192, 64, 5, 5),
    6: (384, 192, 3, 3),
    8: (256, 384, 3, 3),
    10: (256, 256, 3, 3),
}


def alexnet():
    layers = {f"features.{i}.weight": torch.zeros(shape) for i, shape in ALEXNET.items()}
    return layers | {"classifier.6.bias": torch.zeros(1000)}


def googlenet():
    return {
        "conv1.conv.weight": torch.zeros(64, 3, 7, 7),
        "inception3a.branch1.conv.weight": torch.zeros(64, 192, 1, 1),
        "inception3a.branch3.1.conv.weight": torch.zeros(32, 16, 3, 3),
    }


@pytest.mark.parametrize(
    ("state", "name", "why"),
    [
        (alexnet, "fcn32s_alexnet", "64, 192, 384, 256 and 256 channels and no groups"),
        (googlenet, "fcn32s_googlenet", "branch3 of its nine inceptions has 3×3 convolutions"),
    ],
)
def test_networks_that_are_not_the_papers(tmp_path, state, name, why):
    path = save(tmp_path / "weights.pth", state())
    for fails in (
        lambda: pretrained.load(jaxseg.create_model(name, 1000), path),
        lambda: pretrained.suggest(path),
    ):
        with pytest.raises(InputError, match=why) as caught:
            fails()
        assert f"Start {name} from Caffe's" in caught.value.remedy


@slow
def test_networks_that_are_not_the_papers_by_torchvision():
    """The facts about these networks that the errors state."""
    other = on_meta(models().alexnet)
    convs = [layer for layer in other.features if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.weight.shape for layer in convs] == list(ALEXNET.values())
    assert all(layer.groups == 1 for layer in convs) and convs[0].padding == (2, 2)
    assert alexnet().keys() <= shapes(other).keys()
    other = on_meta(models().googlenet, init_weights=False)
    convs = [m for m in other.modules() if isinstance(m, torch.nn.Conv2d)]
    assert not any(layer.bias is not None for layer in convs if layer.in_channels != 2048)
    norms = [m for m in other.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {layer.eps for layer in norms} == {0.001} and len(norms) == len(convs)
    inceptions = [m for n, m in other.named_children() if n.startswith("inception")]
    assert len(inceptions) == 9
    assert all(m.branch3[1].conv.kernel_size == (3, 3) for m in inceptions)
    assert other.maxpool4.kernel_size == 2
    named = {n: tuple(t.shape) for n, t in googlenet().items()}
    assert named.items() <= shapes(other).items()
