"""semseg's files. It is no package; the reference is a PSPNet in PyTorch with its names."""

import jax
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

CLASSES = 5
slow = pytest.mark.slow


def network(depth=26, width=0.125):
    return randomized(torch_resnet.PSPNet(CLASSES, depth, width))


def with_fc(state, width=4):
    return state | {"fc.weight": torch.ones(width, 2048), "fc.bias": torch.ones(width)}


def imagenet_names(state):
    """Moves the stem's convolutions to the top level, as in semseg's ImageNet files."""
    numbers = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}
    named = {}
    for name, tensor in state.items():
        first, *rest = name.split(".")
        if first == "layer0":
            named[".".join([numbers[rest[0]], *rest[1:]])] = tensor
        elif first.startswith("layer"):
            named[name] = tensor
    return with_fc(named)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "kind", "sizes"),
    [
        (14, "checkpoint", SIZES[:1]),
        pytest.param(26, "checkpoint", SIZES, marks=slow),
        pytest.param(26, "legacy", SIZES, marks=slow),
        pytest.param(26, "safetensors", SIZES, marks=slow),
    ],
)
def test_logits_are_those_of_semseg(tmp_path, depth, kind, sizes):
    other = network(depth)
    path = save(tmp_path / "train_epoch_100.pth", other.state_dict(), kind)
    model = jaxseg.create_model("pspnet_resnet50", CLASSES, depth=depth, width=0.125)
    variables, report = pretrained.load(model, path)
    assert report.title == "semseg's PSPNet" and not report.kept
    assert all(name.endswith("num_batches_tracked") for name in report.unused)
    assert_same_logits(model, variables, lambda x: other.main_aux(x)[0], sizes=sizes)


@slow
def test_both_heads_train_as_in_semseg(tmp_path):
    """Normalized by the batch's statistics; includes the auxiliary head."""
    other = network().train()
    path = save(tmp_path / "pspnet.pth", other.state_dict())
    model = jaxseg.create_model("pspnet_resnet50", CLASSES, depth=26, width=0.125, dropout=0.0)
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


@slow
def test_file_without_the_auxiliary_head(tmp_path):
    other = network()
    state = {n: t for n, t in other.state_dict().items() if not n.startswith("aux.")}
    path = save(tmp_path / "pspnet.pth", state, "checkpoint")
    model = jaxseg.create_model("pspnet_resnet50", CLASSES, depth=26, width=0.125)
    variables, report = pretrained.load(model, path)
    assert set(report.kept.values()) == {"the file has no auxiliary head"}
    assert {name.split("/")[1] for name in report.kept} == {"aux"}
    assert_same_logits(model, variables, lambda x: other.main_aux(x)[0])


@slow
@pytest.mark.parametrize("name", ["pspnet_resnet50", "fcn_resnet50"])
def test_trunk_of_an_imagenet_file(tmp_path, name):
    other = network()
    path = save(tmp_path / "resnet26_v2.pth", imagenet_names(other.state_dict()))
    model = jaxseg.create_model(name, 7, depth=26, width=0.125, stem="deep")
    variables, report = pretrained.load(model, path)
    assert report.title == "semseg's ImageNet ResNet"
    assert not [name for name in report.kept if "/backbone/" in name]
    assert report.unused["fc.weight"] == "the logits layer of the ImageNet classes"
    for size in SIZES:
        rgb = photographs(size)
        with torch.no_grad():
            want = other.layer2(other.layer1(other.layer0(standardized(rgb))))
        x = jaxseg.normalize(rgb, model.preprocessing)
        got = jaxseg.features(model, variables, x, ["backbone/layer2"])
        assert_close(got["backbone/layer2"], want)


@slow
def test_full_width(tmp_path):
    other = randomized(torch_resnet.PSPNet(150, 50))
    path = save(tmp_path / "train_epoch_100.pth", other.state_dict(), "checkpoint")
    model = pretrained.suggest(path).create()
    variables = pretrained.load_pretrained(model, path)
    assert_same_logits(model, variables, lambda x: other.main_aux(x)[0], sizes=[(97, 65)])


@pytest.mark.parametrize(
    ("depth", "tensors"),
    [(50, 370), pytest.param(101, 676, marks=slow), pytest.param(152, 982, marks=slow)],
)
def test_every_tensor_of_the_published_files(monkeypatch, depth, tensors):
    monkeypatch.setitem(torch_resnet.BLOCKS, 152, (3, 8, 36, 3))
    theirs = shapes(on_meta(torch_resnet.PSPNet, 21, depth))
    assert len(theirs) == tensors
    full = FullSize(theirs)
    assert (full.source, full.fit.model) == ("semseg_pspnet", f"pspnet_resnet{depth}")
    assert (full.fit.num_classes, full.fit.needed()) == (21, {})
    assert not full.kept
    assert {name.split(".")[-1] for name in full.unused} == {"num_batches_tracked"}


@slow
@pytest.mark.parametrize("depth", [50, 101, 152])
def test_every_tensor_of_the_imagenet_files(monkeypatch, depth):
    monkeypatch.setitem(torch_resnet.BLOCKS, 152, (3, 8, 36, 3))
    theirs = shapes(on_meta(torch_resnet.PSPNet, 21, depth))
    theirs = {n: torch.empty(shape, device="meta") for n, shape in theirs.items()}
    full = FullSize({n: tuple(t.shape) for n, t in imagenet_names(theirs).items()})
    assert (full.source, full.fit.model) == ("semseg_resnet", f"pspnet_resnet{depth}")
    assert {name.split("/")[1] for name in full.kept} == {
        *("head", "aux", "level1", "level2", "level3", "level6")
    }


def test_other_networks_are_refused(tmp_path):
    """The error's remedy names the right call, which works."""
    state = network(14).state_dict()
    path = save(tmp_path / "pspnet.pth", state)
    for fields, problem, mend in [
        ({"depth": 26}, "depth is 26", ""),
        (
            {"stride_on": "1x1"},
            "stride_on is '1x1', its images are normalised with",
            ", stride_on='3x3', normalization='imagenet'",
        ),
        ({"align_corners": False}, "align_corners is False", ", align_corners=True"),
    ]:
        model = jaxseg.create_model("pspnet_resnet50", CLASSES, **({"depth": 14} | fields))
        with pytest.raises(InputError, match=problem) as caught:
            pretrained.load(model, path)
        call = f"jaxseg.create_model('pspnet_resnet50', num_classes=5, depth=14{mend});"
        assert call in caught.value.remedy
    model = jaxseg.create_model("fcn_resnet50", CLASSES)
    with pytest.raises(InputError, match="semseg's PSPNet, which does not fit FCNResNet"):
        pretrained.load(model, path)
    deeper = state | {"layer1.1.conv3.weight": state["layer1.0.conv3.weight"]}
    with pytest.raises(InputError, match="2, 1, 1, 1 bottlenecks.*depth 50"):
        pretrained.suggest(save(tmp_path / "deeper.pth", deeper))


@slow
def test_scores_of_other_classes_are_reset(tmp_path):
    path = save(tmp_path / "pspnet.pth", network(14).state_dict())
    model = jaxseg.create_model("pspnet_resnet50", 3, depth=14, width=0.125)
    with pytest.raises(InputError, match="num_classes=5, or load with head='reset'"):
        pretrained.load(model, path)
    variables, report = pretrained.load(model, path, head="reset")
    assert set(report.kept) == {
        f"params/{head}/score/{leaf}" for head in ("head", "aux") for leaf in ("kernel", "bias")
    }
    start = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 33, 33, 3), np.float32))
    score = variables["params"]["head"]["score"]["kernel"]
    np.testing.assert_array_equal(score, start["params"]["head"]["score"]["kernel"])
